//! The answers in words.

use super::{Answer, Answers, Change, Level, Line, Role, Verdict, Way};
use crate::dataset::Split;
use crate::report::format::number;
use crate::report::table::Standing;
use crate::report::words;

impl Answers {
    /// The three questions of every reader. `damage` says whether the store fails to verify.
    pub fn lines(&self, damage: bool) -> Vec<Line> {
        let within = self.terms.within;
        let mut out: Vec<Line> = Vec::new();
        for answer in &self.features {
            out.push(answer.help(within, &self.dataset, self.features.len() > 1));
        }
        if out.is_empty() {
            let why = self.absent.first().cloned().unwrap_or_else(|| "the experiment has no audio feature".into());
            let sentences = vec![format!("No result yet: {why}.")];
            out.push(Line { question: HELPS.into(), verdict: "Not run".into(), sentences });
        }
        for answer in &self.features {
            out.extend(answer.which(within, self.features.len() > 1));
        }
        out.push(self.trust(damage));
        out
    }

    fn trust(&self, damage: bool) -> Line {
        let mut sentences = Vec::new();
        let c = &self.coverage;
        let runs = match c.done == c.declared {
            true => format!("All {} runs are done", c.done),
            false => format!("{} of {} runs are done", c.done, c.declared),
        };
        let failed = if c.failed > 0 { format!(", {} failed", c.failed) } else { String::new() };
        let clips = self.features.first().map(|a| a.clips.0).unwrap_or_default();
        let clips = (clips > 0).then(|| format!(", scored on {} {} clips", number(clips as f64, 0), self.split.name()));
        let on = clips.unwrap_or_default();
        let over = match self.features.iter().any(Answer::one_seed) {
            true => "clips alone, since there is one seed",
            false => "clips and seeds",
        };
        sentences.push(format!("{runs}{failed}{on}."));
        sentences.push(format!(
            "Brackets are 95 % intervals over {over}, each by itself; ties and claims are corrected for all comparisons."
        ));
        // What departs is told above, word by word.
        if !self.departures.is_empty() {
            sentences.push("These are not the runs that the experiment declares: see above.".into());
        }
        if self.selected_on_val && self.split == Split::Val && self.features.iter().any(|a| a.generators.len() > 1) {
            sentences.push("The best generator was chosen on the clips that are reported, which flatters it.".into());
        }
        if self.all_generated {
            sentences.push("Clips with sound are scored with their generated feature as well.".into());
        }
        if let Some(why) = self.not_comparable().filter(|_| !self.synthetic) {
            let of = if self.published_on.is_empty() { String::new() } else { format!(" (of {})", self.published_on) };
            sentences.push(format!("The published values{of} are not comparable: {why}."));
        }
        let verdict = if damage {
            sentences.insert(0, "The store does not verify: see above.".into());
            "No"
        } else if self.synthetic {
            sentences.insert(
                0,
                "The data are synthetic: this shows that the pipeline works, and reproduces nothing.".into(),
            );
            "Not as a finding"
        } else if !self.departures.is_empty() || c.done < c.declared {
            "With care"
        } else {
            "Within the intervals"
        };
        Line { question: "May I trust it?".into(), verdict: verdict.into(), sentences }
    }
}

const HELPS: &str = "Does generating the missing sound help?";

impl Answer {
    /// Whether its generators were trained with one seed.
    fn one_seed(&self) -> bool {
        let levels = self.ways.iter().filter(|w| w.role == Role::Generated).flat_map(|w| [&w.alone, &w.fused]);
        levels.flatten().any(|level| level.seeds.is_some_and(|n| n < crate::report::resample::SEEDS))
    }

    fn way(&self, of: impl Fn(&Way) -> bool) -> Option<&Way> {
        self.ways.iter().find(|w| of(w))
    }

    /// The generator that stands for all.
    fn generated(&self) -> Option<&Way> {
        self.way(|w| w.chosen).or_else(|| self.way(|w| w.role == Role::Generated))
    }

    fn help(&self, within: f64, dataset: &str, several: bool) -> Line {
        let question = if several { format!("Does generating {} help?", self.audio) } else { HELPS.to_string() };
        let place = if self.at.is_empty() { format!("On {dataset}") } else { format!("On {dataset} at {}", self.at) };
        if self.clips.1 == 0 {
            let sentences = vec![format!("{place} every clip has sound, so there is nothing to generate.")];
            return Line { question, verdict: "Nothing to generate".into(), sentences };
        }
        let recorded = self.way(|w| w.role == Role::Recorded);
        let (Some(generated), Some(recorded)) = (self.generated(), recorded) else {
            let sentences = vec!["No generator has run.".to_string()];
            return Line { question, verdict: "Not run".into(), sentences };
        };
        let change =
            |a: &Option<Level>, b: &Option<Level>| a.as_ref().zip(b.as_ref()).map(|(a, b)| Change::of(a, b, within));
        let mut sentences = Vec::new();
        let in_fusion = change(&generated.fused, &recorded.fused);
        let alone = change(&generated.alone, &recorded.alone);
        let decides = in_fusion.or(alone);
        let verdict = match decides.map(|c| c.verdict) {
            Some(Verdict::Up) => "Yes",
            Some(Verdict::Down) => "No, it hurts",
            Some(Verdict::Same) => "No",
            Some(Verdict::Open) => "Not shown",
            Some(Verdict::OneSeed) => "Not decided: one seed",
            None => "Not run",
        };
        if let (Some(c), Some(level)) = (in_fusion, &generated.fused) {
            let reach = format!(
                "{place}, {} with generated {} reaches {} % top-1",
                self.vision,
                self.audio,
                number(level.mean, 1)
            );
            sentences.push(match c.verdict {
                Verdict::Up => format!("{reach}, a gain of {} over recorded sound alone.", c.told()),
                Verdict::Down => format!("{reach}, a loss: {} against recorded sound alone.", c.told()),
                Verdict::Same => format!(
                    "{reach}, the same as with recorded sound alone, give or take {} points: {}.",
                    number(within, 1),
                    c.told()
                ),
                Verdict::Open => {
                    format!("{reach}, {} against recorded sound alone: 0 lies in the interval.", c.told())
                }
                Verdict::OneSeed => format!(
                    "{reach}, {} against recorded sound alone, from one seed: the brackets are over clips only, and other seeds may say otherwise.",
                    c.told()
                ),
            });
        }
        let vision = self.way(|w| w.role == Role::Vision);
        if let Some(c) = vision.and_then(|v| change(&generated.fused, &v.fused)) {
            sentences.push(compared(&c, &format!("{} without any sound", self.vision), within));
        }
        if let (Some(c), Some(a), Some(b)) = (alone, &generated.alone, &recorded.alone) {
            let (from, to) = (number(b.mean, 1), number(a.mean, 1));
            sentences.push(match c.verdict {
                Verdict::Up => format!(
                    "Sound alone rises from {from} to {to} % ({}), where a silent clip without a feature is wrong.",
                    c.told()
                ),
                Verdict::Down => format!("Sound alone falls from {from} to {to} % ({}).", c.told()),
                Verdict::OneSeed => {
                    format!("Sound alone goes from {from} to {to} % ({}), with this seed.", c.told())
                }
                Verdict::Same | Verdict::Open => {
                    format!("Sound alone goes from {from} to {to} % ({}), which may be nothing.", c.told())
                }
            });
        }
        if let Some(c) = self.way(|w| w.name == "mean feature").and_then(|w| change(&generated.fused, &w.fused)) {
            sentences.push(match c.verdict {
                Verdict::Up => format!("It beats the mean feature, which takes no network, by {}.", c.told()),
                Verdict::Down => format!("The mean feature, which takes no network, does better: {}.", c.told()),
                Verdict::OneSeed => {
                    format!("Against the mean feature, which takes no network: {}, with this seed.", c.told())
                }
                Verdict::Same | Verdict::Open => {
                    format!("That it beats the mean feature, which takes no network, is not shown: {}.", c.told())
                }
            });
        }
        if let Some(c) = self.way(|w| w.role == Role::Bound).and_then(|w| change(&w.fused, &generated.fused)) {
            sentences.push(match c.verdict {
                Verdict::Up => format!("A perfect generator would give {} more.", c.told()),
                Verdict::Down => format!("The true feature does worse: {}.", c.told()),
                Verdict::OneSeed => format!("The true feature gives {}, with this seed.", c.told()),
                Verdict::Same | Verdict::Open => {
                    format!("That a perfect generator would give more is not shown: {}.", c.told())
                }
            });
        }
        Line { question, verdict: verdict.into(), sentences }
    }

    fn which(&self, within: f64, several: bool) -> Option<Line> {
        let (best, top1, standing) = self.generators.first()?;
        let all = self.generators.len();
        let question = if several { format!("Which generator of {}?", self.audio) } else { "Which generator?".into() };
        let top1 = number(*top1, 1);
        let (verdict, first) = match standing {
            _ if all == 1 => (best.clone(), format!("The only one: {top1} % on sound alone.")),
            Some(Standing::Best) => {
                (best.clone(), format!("Significantly the best of {all} on sound alone: {top1} % top-1."))
            }
            Some(_) => {
                let tied: Vec<String> = self
                    .generators
                    .iter()
                    .skip(1)
                    .filter(|(.., s)| *s == Some(Standing::Tied))
                    .map(|(key, ..)| key.clone())
                    .collect();
                let others = match tied.len() {
                    n if n + 1 == all => format!("none of the other {n} is significantly worse"),
                    1 => format!("{} is not significantly worse", tied[0]),
                    n if n <= 3 => format!("{} are not significantly worse", words::list(&tied)),
                    n => format!("{n} others are not significantly worse"),
                };
                ("No clear best".into(), format!("{best} is highest of {all} on sound alone ({top1} %), and {others}."))
            }
            None => {
                ("Not decided".into(), format!("{best} is highest of {all} on sound alone ({top1} %), from one seed."))
            }
        };
        let mut sentences = vec![first];
        let families: Vec<&Way> = self.ways.iter().filter(|w| w.role == Role::Generated).collect();
        if let [a, b] = families[..]
            && let (Some(x), Some(y)) = (&a.fused, &b.fused)
        {
            let (x, y, a, b) = if b.chosen { (y, x, b, a) } else { (x, y, a, b) };
            let c = Change::of(x, y, within);
            let short = |w: &Way| w.name.replace("generated, ", "the ");
            let (a, b) = (short(a), short(b));
            sentences.push(match c.verdict {
                Verdict::Up => format!("In fusion {a} gains {} over {b}.", c.told()),
                Verdict::Down => format!("In fusion {b} does better than {a}: {}.", c.told()),
                Verdict::OneSeed => format!("In fusion {a} against {b}: {}, with this seed.", c.told()),
                Verdict::Same | Verdict::Open => {
                    format!("In fusion {a} and {b} are not told apart: {}.", c.told())
                }
            });
        }
        Some(Line { question, verdict, sentences })
    }
}

fn compared(c: &Change, with: &str, within: f64) -> String {
    match c.verdict {
        Verdict::Up => format!("That is {} above {with}.", c.told()),
        Verdict::Down => format!("That is below {with}: {}.", c.told()),
        Verdict::Same => {
            format!("Against {with} it is the same, give or take {} points: {}.", number(within, 1), c.told())
        }
        Verdict::Open => format!("Against {with} the difference may be nothing: {}.", c.told()),
        Verdict::OneSeed => format!("Against {with}: {}, with this seed.", c.told()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::agreement::Terms;
    use crate::report::coverage::Coverage;
    use crate::report::resample::interval;

    /// A row whose resamples lie evenly within so many points around its mean.
    fn level(mean: f64, spread: f64, seeds: usize) -> Level {
        let draws: Vec<f64> = (0..=1000).map(|i| mean + spread * (f64::from(i) / 500.0 - 1.0)).collect();
        Level { mean, interval: interval(draws.clone()), seeds: Some(seeds), draws }
    }

    fn way(role: Role, name: &str, chosen: bool, alone: Option<Level>, fused: Level) -> Way {
        Way { role, name: name.into(), chosen, alone, fused: Some(fused), published: [None, None] }
    }

    /// Vision at 40 %, with recorded sound 41 %; generated sound as given.
    fn answers(generated: Level) -> Answers {
        let flat = |mean: f64| level(mean, 0.0, 5);
        let ways = vec![
            way(Role::Vision, "no sound", false, None, flat(40.0)),
            way(Role::Recorded, "recorded sound alone", false, Some(flat(20.0)), flat(41.0)),
            way(Role::Generated, "generated, best LSTM", true, Some(level(30.0, 2.0, 5)), generated),
            way(Role::Control, "mean feature", false, Some(flat(25.0)), flat(41.0)),
            way(Role::Bound, "true feature (oracle)", false, Some(flat(50.0)), flat(50.0)),
        ];
        let generators = vec![
            ("lstm/l2/with".to_string(), 30.0, Some(Standing::Tied)),
            ("autoencoder/l2/with".into(), 29.0, Some(Standing::Tied)),
            ("lstm/kl/with".into(), 22.0, None),
        ];
        let answer = Answer {
            audio: "VGGish".into(),
            vision: "RGB + Flow".into(),
            at: String::new(),
            ways,
            generators,
            clips: (228, 100),
        };
        Answers {
            features: vec![answer],
            absent: Vec::new(),
            terms: Terms::default(),
            coverage: Coverage { declared: 60, done: 60, failed: 0, skipped_cells: 0 },
            synthetic: false,
            split: Split::Val,
            selected_on_val: true,
            all_generated: false,
            departures: Vec::new(),
            dataset: "corsmal".into(),
            published_on: String::new(),
        }
    }

    fn said(answers: &Answers) -> String {
        let lines = answers.lines(false);
        let told: Vec<String> =
            lines.iter().map(|l| format!("{} {}. {}", l.question, l.verdict, l.sentences.join(" "))).collect();
        told.join("\n")
    }

    #[test]
    fn yes_is_said_where_the_interval_leaves_out_0() {
        let text = said(&answers(level(45.0, 2.0, 5)));
        assert!(text.starts_with("Does generating the missing sound help? Yes. On corsmal, RGB + Flow with generated VGGish reaches 45.0 % top-1, a gain of +4.0 points [+2.1, +5.9] over recorded sound alone."), "{text}");
        assert!(text.contains("+5.0 points [+3.1, +6.9] above RGB + Flow without any sound."), "{text}");
        assert!(text.contains("Sound alone rises from 20.0 to 30.0 % (+10.0 points [+8.1, +11.9])"), "{text}");
        assert!(text.contains("A perfect generator would give +5.0 points"), "{text}");
        assert!(text.contains("It beats the mean feature, which takes no network, by +4.0 points"), "{text}");
    }

    #[test]
    fn no_is_said_where_it_hurts_or_changes_nothing() {
        let hurts = said(&answers(level(38.0, 1.0, 5)));
        assert!(hurts.contains("? No, it hurts. ") && hurts.contains("a loss: \u{2212}3.0 points"), "{hurts}");
        assert!(hurts.contains("That is below RGB + Flow without any sound"), "{hurts}");
        let same = said(&answers(level(41.2, 0.9, 5)));
        assert!(
            same.contains("? No. ") && same.contains("the same as with recorded sound alone, give or take 2.0 points"),
            "{same}"
        );
    }

    #[test]
    fn nothing_is_said_to_help_where_the_interval_holds_0() {
        let text = said(&answers(level(41.5, 4.0, 5)));
        assert!(text.contains("? Not shown. ") && text.contains("0 lies in the interval"), "{text}");
        for word in ["a gain", " gains", "helps", "beats the mean feature, which takes no network, by", "above"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        let one = said(&answers(level(49.0, 0.5, 1)));
        assert!(one.contains("? Not decided: one seed. ") && !one.contains("a gain"), "{one}");
        // An interval that leaves out 0 is not said to hold it.
        assert!(one.contains("+8.0 points [+7.5, +8.5] against recorded sound alone, from one seed"), "{one}");
        for word in ["may be nothing", "is not shown", "not told apart", "over clips and seeds"] {
            assert!(!one.contains(word), "{word} in {one}");
        }
    }

    #[test]
    fn which_generator_names_ties_and_trust_names_what_is_missing() {
        let mut a = answers(level(45.0, 2.0, 5));
        let text = said(&a);
        assert!(text.contains("Which generator? No clear best. lstm/l2/with is highest of 3 on sound alone (30.0 %), and autoencoder/l2/with is not significantly worse."), "{text}");
        assert!(
            text.contains("May I trust it? Within the intervals. All 60 runs are done, scored on 228 val clips"),
            "{text}"
        );
        a.features[0].generators[0].2 = Some(Standing::Best);
        a.features[0].generators[1].2 = None;
        a.departures = vec!["2 of 5 declared seeds: the numbers are those of seeds 0, 1.".into()];
        let text = said(&a);
        assert!(text.contains("Which generator? lstm/l2/with. Significantly the best of 3"), "{text}");
        assert!(
            text.contains("May I trust it? With care. ") && text.contains("not the runs that the experiment declares"),
            "{text}"
        );
        assert_eq!(a.lines(true).last().unwrap().verdict, "No");
        a.synthetic = true;
        assert!(said(&a).contains("May I trust it? Not as a finding. The data are synthetic"));
    }

    #[test]
    fn what_was_not_run_is_no_answer() {
        let mut a = answers(level(45.0, 2.0, 5));
        a.features[0].clips = (228, 0);
        assert!(said(&a).contains("? Nothing to generate. On corsmal every clip has sound"));
        a.features.clear();
        a.absent = vec!["vggish: not run yet".into()];
        assert!(said(&a).contains("? Not run. No result yet: vggish: not run yet."));
    }
}
