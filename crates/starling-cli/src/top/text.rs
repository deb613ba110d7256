//! A view as text, and as JSON.

use std::fmt::Write as _;

use reqwest::Url;
use serde_json::{Value, json};

use super::sample::{Channel, Stats, View};

/// A few lines, and a table of the largest channels.
pub fn text(url: &Url, view: &View, limit: usize) -> String {
    let Stats { connections, channels, members, .. } = view.sample.stats;
    let mut out = format!("{}\n", title(url, &view.sample.stats));
    let _ = writeln!(
        out,
        "connections {connections}{}, channels {channels}, members {members}",
        protocols(&view.sample.stats)
    );
    let rates = view.per_second.map(|rates| rates.named().map(|(name, rate)| format!("{name} {rate:.1}")).join(", "));
    let _ = writeln!(out, "a second:    {}", rates.as_deref().unwrap_or("unknown: the answers are not of one node"));
    let totals = view.sample.stats.counts().named().map(|(name, count)| format!("{name} {count}"));
    let _ = writeln!(out, "since start: {}", totals.join(", "));
    let shown: Vec<_> =
        view.sample.channels.iter().take(limit).map(|channel| (printable(&channel.channel), channel)).collect();
    if shown.is_empty() {
        return out;
    }
    let width = shown.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("channel".len());
    let _ = writeln!(out, "\n{:width$} {:>9} {:>9}", "channel", "members", "users");
    for (name, Channel { members, users, .. }) in &shown {
        let _ = writeln!(out, "{name:width$} {members:>9} {users:>9}");
    }
    if view.sample.more {
        out.push_str("(the largest of the first 1000 by name; --prefix chooses others)\n");
    }
    out
}

/// One object with everything.
pub fn json(url: &Url, view: &View, limit: usize) -> Value {
    let stats = &view.sample.stats;
    json!({
        "url": url.as_str(),
        "app": stats.app,
        "version": stats.version,
        "uptimeSeconds": stats.uptime_seconds,
        "connections": stats.connections,
        "connectionsByProtocol": stats.connections_by_protocol,
        "channels": stats.channels,
        "members": stats.members,
        "perSecond": view.per_second,
        "sinceStart": stats.counts(),
        "largestChannels": view.sample.channels.iter().take(limit).collect::<Vec<_>>(),
    })
}

/// Which server, and how long it has been running.
pub fn title(url: &Url, stats: &Stats) -> String {
    let Stats { app, version, uptime_seconds, .. } = stats;
    format!("{url}  app {app}, starling {version}, up {}", age(*uptime_seconds))
}

/// Connections by protocol, in brackets, if the server tells.
pub fn protocols(stats: &Stats) -> String {
    let open = stats.connections_by_protocol.iter().filter(|(_, count)| **count > 0);
    let parts: Vec<_> = open.map(|(protocol, count)| format!("{protocol} {count}")).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// A name that others chose, fit for a terminal: without control characters, and not too long.
pub fn printable(name: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(MOST).collect();
    if name.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::sample::tests::sample;
    use super::*;

    #[test]
    fn a_view_is_told_in_words_and_numbers() {
        let url = Url::parse("http://127.0.0.1:8080").unwrap();
        let start = Instant::now();
        let view = View::new(Some(&sample(start, 3700, 100)), sample(start + Duration::from_secs(1), 3701, 150));
        let expected = "\
            http://127.0.0.1:8080/  app 1, starling 0.1.0, up 1h 1m\n\
            connections 3 (native 2, pusher 1), channels 2, members 4\n\
            a second:    published 0.0, delivered 50.0, dropped 0.0, conflated 0.0, rate limited 0.0, slow consumers closed 0.0\n\
            since start: published 6, delivered 150, dropped 1, conflated 0, rate limited 0, slow consumers closed 0\n\n\
            channel      members     users\n\
            big                3         1\n\
            small\u{fffd}[31m         1         1\n\
            (the largest of the first 1000 by name; --prefix chooses others)\n";
        assert_eq!(text(&url, &view, 20), expected);
        let object = json(&url, &view, 1);
        assert_eq!(
            (&object["perSecond"]["delivered"], &object["largestChannels"][0]["channel"]),
            (&50.0.into(), &"big".into())
        );
        assert_eq!(object["largestChannels"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn ages_take_two_units() {
        let ages = [0, 59, 60, 3599, 3600, 86_399, 86_400, 200_000].map(age);
        assert_eq!(ages, ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "2d 7h"]);
    }
}
