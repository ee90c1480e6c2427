//! The answer at the top, as the template lays it out.

use crate::experiment::claims::Metric;
use crate::report::answer::{Answer, Answers, Level, Role, Way};
use crate::report::charts::track::{Line, Scale};
use crate::report::format::number;
use crate::report::measure::Measure;
use serde_json::{Value, json};

/// A way of answering, how far it gets, and what is published of it.
type Row<'a> = (&'a Way, &'a Level, Option<f64>);

/// Questions and answers, and a figure for each audio feature.
pub(super) fn answer(answers: &Answers, damage: bool) -> Value {
    let lines: Vec<Value> = answers
        .lines(damage)
        .iter()
        .map(|l| {
            // The first sentence is the answer; the others explain it.
            let (first, more) =
                l.sentences.split_first().map_or((String::new(), String::new()), |(f, m)| (f.clone(), m.join(" ")));
            json!({ "question": l.question, "verdict": l.verdict, "first": first, "more": more })
        })
        .collect();
    let figures: Vec<Value> = answers.features.iter().map(figure).collect();
    json!({ "lines": lines, "figures": figures, "not_comparable": answers.not_comparable() })
}

fn figure(answer: &Answer) -> Value {
    let levels = |of: fn(&Way) -> &Option<Level>, published: usize| -> Vec<(&Way, &Level, Option<f64>)> {
        answer.ways.iter().filter_map(|w| Some((w, of(w).as_ref()?, w.published[published]))).collect()
    };
    let groups = [
        (format!("{} alone", answer.audio), levels(|w| &w.alone, 0)),
        (format!("{} with {}", answer.vision, answer.audio), levels(|w| &w.fused, 1)),
    ];
    let everything = groups.iter().flat_map(|(_, rows)| rows).flat_map(|(_, level, published)| {
        [Some(level.interval.0), Some(level.interval.1), Some(level.mean), *published].into_iter().flatten()
    });
    // One scale for both, so that a point is as wide in either.
    let scale = Scale::over(everything);
    let decimals = Measure::Accuracy(Metric::Top1).decimals() - 1;
    let group = |(title, rows): &(String, Vec<Row>)| {
        let line = |(way, level, published): &Row| {
            let (low, high) = level.interval;
            scale.dot(&Line {
                name: way.name.clone(),
                class: way.role.word().into(),
                at: level.mean,
                interval: Some(level.interval),
                published: *published,
                strong: way.chosen,
                value: number(level.mean, decimals),
                beside: format!("[{}, {}]", number(low, decimals), number(high, decimals)),
            })
        };
        let recorded = rows.iter().find(|(way, ..)| way.role == Role::Recorded);
        json!({
            "title": title,
            "rows": rows.iter().map(line).collect::<Vec<_>>(),
            "axis": scale.axis(),
            "reference": recorded.map(|(_, level, _)| scale.reference(level.mean)),
        })
    };
    let shown: Vec<Value> = groups.iter().filter(|(_, rows)| !rows.is_empty()).map(group).collect();
    let published = groups.iter().flat_map(|(_, rows)| rows).any(|(.., p)| p.is_some());
    json!({
        "audio": answer.audio, "at": answer.at, "groups": shown, "published": published,
        "clips": number(answer.clips.0 as f64, 0), "silent": number(answer.clips.1 as f64, 0),
    })
}
