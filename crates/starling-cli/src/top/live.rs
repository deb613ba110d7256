//! The live view on a terminal.
//!
//! The server is asked in a task of its own, keys are read by a thread, because a read cannot be interrupted; whatever
//! comes, the screen is drawn again. The terminal is given back however this ends: by a key, a signal or a panic.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};
use reqwest::Url;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::PERIOD;
use super::sample::{Sample, View};
use super::source::Source;
use super::text::{printable, protocols, title};

/// Whether this program has it.
pub const IS_THERE: bool = true;
/// The most seconds in the curve.
const HISTORY: usize = 600;

/// What is on the screen.
struct Screen {
    url: Url,
    view: Option<View>,
    /// Since when there has been no answer, and why.
    away: Option<(Instant, String)>,
    /// Deliveries a second, newest first.
    delivered: VecDeque<u64>,
    /// The first channel shown.
    top: usize,
}

/// Shows the view until a key or a signal ends it.
///
/// # Errors
///
/// When the terminal cannot be used.
pub async fn run(source: Source) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    // It restores the terminal in a panic, too.
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let _restored = Restored;
    let mut screen = Screen { url: source.url().clone(), view: None, away: None, delivered: VecDeque::new(), top: 0 };
    let mut samples = watch(source);
    let mut keys = read_keys();
    loop {
        draw(&mut terminal, &screen)?;
        tokio::select! {
            Some(sample) = samples.recv() => screen.take(sample),
            Some(event) = keys.recv() => {
                if screen.press(&event) {
                    return Ok(());
                }
            }
            _ = terminate.recv() => return Ok(()),
        }
    }
}

/// Gives the terminal back.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Asks once a second.
fn watch(source: Source) -> mpsc::Receiver<anyhow::Result<Sample>> {
    let (samples, received) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if samples.send(source.ask().await).await.is_err() {
                return;
            }
        }
    });
    received
}

fn read_keys() -> mpsc::Receiver<Event> {
    let (keys, received) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if keys.blocking_send(event).is_err() {
                return;
            }
        }
    });
    received
}

impl Screen {
    fn take(&mut self, sample: anyhow::Result<Sample>) {
        match sample {
            Ok(sample) => {
                self.away = None;
                let view = View::new(self.view.as_ref().map(|view| &view.sample), sample);
                let delivered = view.per_second.map_or(0.0, |rates| rates.delivered);
                self.delivered.push_front(delivered as u64);
                self.delivered.truncate(HISTORY);
                self.top = self.top.min(view.sample.channels.len().saturating_sub(1));
                self.view = Some(view);
            }
            Err(error) => {
                let since = self.away.take().map_or_else(Instant::now, |(since, _)| since);
                self.away = Some((since, format!("{error:#}")));
            }
        }
    }

    /// Returns whether the key ends the view.
    fn press(&mut self, event: &Event) -> bool {
        let Event::Key(key) = event else { return false };
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let last = self.view.as_ref().map_or(0, |view| view.sample.channels.len().saturating_sub(1));
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Up | KeyCode::Char('k') => self.top = self.top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.top = (self.top + 1).min(last),
            KeyCode::PageUp => self.top = self.top.saturating_sub(20),
            KeyCode::PageDown => self.top = (self.top + 20).min(last),
            KeyCode::Home => self.top = 0,
            KeyCode::End => self.top = last,
            _ => {}
        }
        false
    }
}

fn draw(terminal: &mut DefaultTerminal, screen: &Screen) -> anyhow::Result<()> {
    terminal.draw(|frame| compose(frame, screen)).context("cannot write to the terminal")?;
    Ok(())
}

fn compose(frame: &mut Frame<'_>, screen: &Screen) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Min(3),
        Constraint::Length(1),
    ]);
    let [head, state, numbers, curve, channels, foot] = areas.areas(frame.area());
    let keys = "q quit   ↑ ↓ PageUp PageDown channels";
    frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
    if let Some((since, reason)) = &screen.away {
        let text = format!("no answer for {}: {reason}", seconds(since.elapsed()));
        frame.render_widget(Paragraph::new(text).style(Style::new().fg(Color::Red)), state);
    }
    let Some(view) = &screen.view else {
        frame.render_widget(Paragraph::new(format!("{}", screen.url)).bold(), head);
        return;
    };
    frame.render_widget(Paragraph::new(title(&screen.url, &view.sample.stats)).bold(), head);
    if screen.away.is_none() {
        let stats = &view.sample.stats;
        let line = format!(
            "connections {}{}   channels {}   members {}",
            stats.connections,
            protocols(stats),
            stats.channels,
            stats.members
        );
        frame.render_widget(Line::from(line), state);
    }
    compose_numbers(frame, numbers, view);
    compose_curve(frame, curve, screen);
    compose_channels(frame, channels, view, screen.top);
}

fn compose_numbers(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let totals = view.sample.stats.counts().named();
    let rates = view.per_second.map(|rates| rates.named());
    let rows = totals.into_iter().enumerate().map(|(index, (name, total))| {
        let rate = rates.map_or("–".to_owned(), |rates| format!("{:.1}", rates[index].1));
        // What is left out or cut off is worth a look.
        let alarming = index >= 2 && rates.is_some_and(|rates| rates[index].1 > 0.0);
        let style = if alarming { Style::new().fg(Color::Yellow) } else { Style::new() };
        Row::new([Cell::new(name), right(&rate, 14), right(&total.to_string(), 16)]).style(style)
    });
    let widths = [Constraint::Length(22), Constraint::Length(14), Constraint::Length(16)];
    let head = Row::new([Cell::new("messages"), right("a second", 14), right("since start", 16)]).underlined();
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn compose_curve(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let most = screen.delivered.iter().copied().max().unwrap_or(0);
    let block = Block::bordered().title(format!(" delivered a second, at most {most} "));
    let width = usize::from(area.width.saturating_sub(2));
    let mut values: Vec<u64> = screen.delivered.iter().copied().take(width).collect();
    values.reverse();
    frame.render_widget(Sparkline::default().block(block).data(values).style(Style::new().fg(Color::Green)), area);
}

fn compose_channels(frame: &mut Frame<'_>, area: Rect, view: &View, top: usize) {
    let channels = &view.sample.channels;
    let rows = channels.iter().skip(top).take(area.height.into()).map(|channel| {
        let name = Cell::new(printable(&channel.channel));
        Row::new([name, right(&channel.members.to_string(), 10), right(&channel.users.to_string(), 10)])
    });
    let widths = [Constraint::Min(20), Constraint::Length(10), Constraint::Length(10)];
    let more = if view.sample.more { " of the first 1000 by name" } else { "" };
    let name = Cell::new(format!("channel, largest first{more}"));
    let head = Row::new([name, right("members", 10), right("users", 10)]).underlined();
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn right(text: &str, width: usize) -> Cell<'static> {
    Cell::new(format!("{text:>width$}"))
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::super::sample::tests::sample;
    use super::*;

    fn drawn(screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(90, 30)).unwrap();
        terminal.draw(|frame| compose(frame, screen)).unwrap();
        let cells = terminal.backend().buffer().content();
        cells.iter().map(|cell| cell.symbol()).collect()
    }

    #[test]
    fn the_screen_shows_the_last_answer_and_that_there_is_none() {
        let url = Url::parse("http://127.0.0.1:8080").unwrap();
        let mut screen = Screen { url, view: None, away: None, delivered: VecDeque::new(), top: 0 };
        screen.take(Err(anyhow::anyhow!("Connection refused")));
        let text = drawn(&screen);
        assert!(text.contains("no answer for 0 s: Connection refused"), "{text}");

        let start = Instant::now();
        screen.take(Ok(sample(start, 10, 100)));
        screen.take(Ok(sample(start + Duration::from_secs(1), 11, 150)));
        let text = drawn(&screen);
        for expected in ["connections 3 (native 2, pusher 1)", "50.0", "big", "delivered a second, at most 50"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        screen.take(Err(anyhow::anyhow!("Connection refused")));
        let text = drawn(&screen);
        assert!(text.contains("no answer for") && text.contains("big"), "{text}");
    }

    #[test]
    fn keys_move_and_quit() {
        let url = Url::parse("http://127.0.0.1:8080").unwrap();
        let mut screen = Screen { url, view: None, away: None, delivered: VecDeque::new(), top: 0 };
        screen.take(Ok(sample(Instant::now(), 10, 100)));
        let key = |code| Event::Key(event::KeyEvent::new(code, KeyModifiers::NONE));
        assert!(!screen.press(&key(KeyCode::Down)) && !screen.press(&key(KeyCode::PageDown)));
        assert_eq!(screen.top, 1, "the last of two");
        assert!(!screen.press(&key(KeyCode::Home)));
        assert_eq!(screen.top, 0);
        assert!(screen.press(&key(KeyCode::Char('q'))));
        assert!(screen.press(&Event::Key(event::KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))));
    }
}
