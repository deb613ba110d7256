//! The results as Markdown tables.

use std::fmt::Write as _;

use starling_load::report::Report;

use super::{Goal, Outcome, server::ServerKind};

/// The tables of all outcomes, and the notes that belong to them.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    processor_time(&mut out, outcomes);
    memory(&mut out, outcomes);
    stall(&mut out, outcomes);
    notes(&mut out, outcomes);
    out
}

/// Whether every run succeeded, nothing was lost, and all goals are met.
pub fn all_met(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(|outcome| {
        let sound = outcome.failures.is_empty() && outcome.reports.iter().all(|(_, report)| report.faults.none());
        sound && met(outcome).unwrap_or(true)
    })
}

fn met(outcome: &Outcome) -> Option<bool> {
    match outcome.row.goal {
        Goal::Ratio(goal) => Some(ratio(outcome, ServerKind::Starling)? <= goal),
        Goal::Bytes(goal) => {
            let memory = starling(outcome)?.memory?;
            Some(memory.per_connection <= goal && memory.returned? >= 0.9)
        }
        Goal::Stall(goal) => Some(starling(outcome)?.stall_ratio? <= goal),
    }
}

fn processor_time(out: &mut String, outcomes: &[Outcome]) {
    let rows: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome.row.goal, Goal::Ratio(_))).collect();
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "| scenario | limit, µs | limit-batch | starling | each round | goal | met | starling/s | p99, ms |\n",
    );
    out.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for outcome in rows {
        let Goal::Ratio(goal) = outcome.row.goal else {
            continue;
        };
        let ratio_of = |kind| ratio(outcome, kind).map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let rate = median(figures(outcome, ServerKind::Starling, |report| Some(report.rate)));
        let p99 = median(figures(outcome, ServerKind::Starling, |report| Some(report.latency?.p99 as f64 / 1000.0)));
        let _ = writeln!(
            out,
            "| {} | {} | {} | **{}** | {} | ≤ {goal:.2} | {} | {} | {} |",
            outcome.row.name,
            number(median(figures(outcome, ServerKind::Limit, |report| report.server_cpu)), 2),
            ratio_of(ServerKind::LimitBatch),
            ratio_of(ServerKind::Starling),
            each_round(outcome),
            yes(met(outcome)),
            number(rate, 0),
            number(p99, 1),
        );
    }
    out.push('\n');
}

fn memory(out: &mut String, outcomes: &[Outcome]) {
    let rows = outcomes.iter().filter_map(|outcome| match outcome.row.goal {
        Goal::Bytes(goal) => Some((outcome, goal, starling(outcome)?.memory?)),
        _ => None,
    });
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    out.push_str("| scenario | connections | bytes each | goal | returned | nine tenths after | met |\n");
    out.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for (outcome, goal, memory) in rows {
        let _ = writeln!(
            out,
            "| {} | {} | **{:.0}** | ≤ {goal:.0} | {} % | {} s | {} |",
            outcome.row.name,
            starling(outcome).map_or(0, |report| report.connections),
            memory.per_connection,
            number(memory.returned.map(|share| share * 100.0), 0),
            number(memory.seconds_to_nine_tenths, 0),
            yes(met(outcome)),
        );
    }
    out.push('\n');
}

fn stall(out: &mut String, outcomes: &[Outcome]) {
    for outcome in outcomes {
        let Goal::Stall(goal) = outcome.row.goal else {
            continue;
        };
        let Some(report) = starling(outcome) else {
            continue;
        };
        let (Some(without), Some(with)) = (report.latency, report.latency_stalled) else {
            continue;
        };
        out.push_str("| scenario | deliveries/s | p99, all reading | p99, one stalled | ratio | goal | met |\n");
        out.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.1} ms | {:.1} ms | **{}** | ≤ {goal:.2} | {} |\n",
            outcome.row.name,
            report.rate,
            without.p99 as f64 / 1000.0,
            with.p99 as f64 / 1000.0,
            number(report.stall_ratio, 2),
            yes(met(outcome)),
        );
    }
}

fn notes(out: &mut String, outcomes: &[Outcome]) {
    for outcome in outcomes {
        for failure in &outcome.failures {
            let _ = writeln!(out, "- Failed: {failure}");
        }
        for (kind, report) in outcome.reports.iter().filter(|(_, report)| !report.faults.none()) {
            let _ = writeln!(out, "- {} in {}: {:?}", kind.name(), outcome.row.name, report.faults);
        }
        let size = |kind| outcome.reports.iter().find(|(of, _)| *of == kind).map(|(_, report)| report.message_bytes);
        if let (Some(limit), Some(starling)) = (size(ServerKind::Limit), size(ServerKind::Starling))
            && limit != starling
        {
            let _ = writeln!(
                out,
                "- In {}, messages of limit have {limit} bytes, of starling {starling}.",
                outcome.row.name
            );
        }
    }
}

fn figures(outcome: &Outcome, kind: ServerKind, figure: impl Fn(&Report) -> Option<f64>) -> Vec<f64> {
    outcome.reports.iter().filter(|(of, _)| *of == kind).filter_map(|(_, report)| figure(report)).collect()
}

fn ratio(outcome: &Outcome, kind: ServerKind) -> Option<f64> {
    let cpu = |kind| median(figures(outcome, kind, |report| report.server_cpu));
    Some(cpu(kind)? / cpu(ServerKind::Limit)?)
}

fn each_round(outcome: &Outcome) -> String {
    let cpu = |kind| figures(outcome, kind, |report| report.server_cpu);
    let ratios = cpu(ServerKind::Starling).into_iter().zip(cpu(ServerKind::Limit)).map(|(ours, limit)| ours / limit);
    let ratios: Vec<_> = ratios.map(|ratio| format!("{ratio:.2}")).collect();
    ratios.join(" ")
}

fn starling(outcome: &Outcome) -> Option<&Report> {
    outcome.reports.iter().find(|(kind, _)| *kind == ServerKind::Starling).map(|(_, report)| report)
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        _ if figures.is_empty() => None,
        0 => Some((figures[middle - 1] + figures[middle]) / 2.0),
        _ => Some(figures[middle]),
    }
}

fn number(figure: Option<f64>, digits: usize) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{figure:.digits$}"))
}

fn yes(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::ROWS;

    fn report(server_cpu: f64) -> Report {
        Report { server_cpu: Some(server_cpu), ..Report::default() }
    }

    #[test]
    fn a_row_compares_medians_with_the_goal() {
        let reports = [
            (ServerKind::Limit, 5.0),
            (ServerKind::Starling, 5.5),
            (ServerKind::Limit, 4.0),
            (ServerKind::Starling, 9.0),
        ];
        let reports = reports.map(|(kind, cpu)| (kind, report(cpu))).to_vec();
        let outcomes = [Outcome { row: ROWS[0], reports, failures: Vec::new() }];

        let table = markdown(&outcomes);
        assert!(table.contains("| fanout-rate | 4.50 | – | **1.61** | 1.10 2.25 | ≤ 1.15 | **no** |"), "{table}");
        assert!(!all_met(&outcomes));
    }
}
