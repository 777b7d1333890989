//! The same numbers from scipy, statsmodels, gbstats and mpmath, to 1e-9 relative.
//!
//! Their side is `tests/oracle/oracle.py`, which says inputs and results; nothing is copied from a run into this file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use mainstay_stats::metric::{adjusted_mean, adjusted_ratio};
use mainstay_stats::tail::{beta, chi_square, noncentral, normal, student};
use mainstay_stats::{
    Adaptive, Ask, AsymptoticSequence, Belief, Boundary, Contrast, CountProcess, Interval, Joint,
    Level, PValue, Period, Plan, Prior, Proportion, QuantileReading, QuantileSequence, Scale, Side,
    SpendingFunction, Summary, Switchback, benjamini_hochberg, benjamini_yekutieli,
    chances_to_be_best, clustered_mean, clustering_factor, heterogeneity, holm, interaction, mean,
    pooled_test, posterior, ratio, sample_ratio, student_power,
};
use serde_json::Value;

/// Relative distance that counts as equal.
const EQUAL: f64 = 1e-9;

/// A Python that has all the oracles, if there is one.
fn python() -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let asked = std::env::var("MAINSTAY_STATS_PYTHON").ok();
    let known = [
        format!("{home}/.cache/mainstay/stats-python/bin/python"),
        "python3".to_owned(),
    ];
    let has = |python: &String| {
        let tried = Command::new(python)
            .args(["-c", "import gbstats, mpmath, scipy, statsmodels"])
            .output();
        tried.is_ok_and(|it| it.status.success())
    };
    let found = asked.into_iter().chain(known).find(has);
    if found.is_none() {
        // Where nothing may be skipped, that is a failure.
        let said = "skipped: no Python here has gbstats, mpmath, scipy and statsmodels";
        assert!(std::env::var_os("MAINSTAY_SKIPPED").is_none(), "{said}");
        println!("{said}");
    }
    found
}

/// One line of the oracle.
struct Case(Value);

impl Case {
    fn number(&self, name: &str) -> f64 {
        self.0[name]
            .as_f64()
            .unwrap_or_else(|| panic!("no number {name} in {}", self.0))
    }

    fn count(&self, name: &str) -> u64 {
        self.0[name].as_u64().expect("a count")
    }

    fn is(&self, name: &str) -> bool {
        self.0[name].as_bool().expect("a bool")
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        numbers(&self.0[name])
    }

    fn rows<const N: usize>(&self, name: &str) -> Vec<[f64; N]> {
        let rows = self.0[name].as_array().expect("rows");
        rows.iter()
            .map(|row| numbers(row).try_into().expect("a row of that width"))
            .collect()
    }

    fn mean(&self, name: &str) -> Joint<1> {
        joint(self.numbers(name).into_iter().map(|it| [it]))
    }

    fn scale(&self) -> Scale {
        if self.is("relative") {
            Scale::Relative
        } else {
            Scale::Absolute
        }
    }

    fn against(&self) -> Contrast {
        let (control, treatment) = (self.mean("a"), self.mean("b"));
        let (control, treatment) = (mean(&control).unwrap(), mean(&treatment).unwrap());
        control.against(&treatment, self.scale()).unwrap()
    }

    /// Compares a value with what the oracle says under a name.
    fn equal(&self, found: f64, name: &str) {
        self.within(found, name, EQUAL);
    }

    fn within(&self, found: f64, name: &str, tolerance: f64) {
        close(found, self.number(name), tolerance, || {
            let mut shown = self.0.to_string();
            shown.truncate(400);
            format!("{name} of {shown}")
        });
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    let all = value.as_array().expect("an array");
    all.iter()
        .map(|it| it.as_f64().expect("a number"))
        .collect()
}

fn close(found: f64, wanted: f64, tolerance: f64, of: impl Fn() -> String) {
    let distance = (found - wanted).abs();
    assert!(
        distance <= tolerance * wanted.abs() || distance < 1e-300,
        "{found:e} is not {wanted:e} ({:e} apart): {}",
        distance / wanted.abs(),
        of()
    );
}

fn joint<const N: usize>(rows: impl IntoIterator<Item = [f64; N]>) -> Joint<N> {
    let mut all = Joint::default();
    for row in rows {
        all.push(row).unwrap();
    }
    all
}

/// All that the oracle says, by kind; it is asked once.
fn oracle() -> Option<&'static BTreeMap<String, Vec<Case>>> {
    static SAID: OnceLock<Option<BTreeMap<String, Vec<Case>>>> = OnceLock::new();
    let ask = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/oracle.py");
        let answer = Command::new(python()?).arg(script).output().unwrap();
        assert!(
            answer.status.success(),
            "{}",
            String::from_utf8_lossy(&answer.stderr)
        );
        let mut kinds: BTreeMap<String, Vec<Case>> = BTreeMap::new();
        for line in String::from_utf8(answer.stdout).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let kind = case["kind"].as_str().unwrap().to_owned();
            kinds.entry(kind).or_default().push(Case(case));
        }
        Some(kinds)
    };
    SAID.get_or_init(ask).as_ref()
}

fn level(alpha: f64) -> Level {
    Level::new(alpha).unwrap()
}

fn ask(side: Side) -> Ask {
    Ask::one_sided(level(0.05), side)
}

type Check = fn(&Case);

/// One test for all kinds, so that the oracle is started once; a kind without a check is a failure.
#[test]
fn the_oracles_find_the_same_numbers() {
    let Some(said) = oracle() else { return };
    let checks: &[(&str, Check)] = &[
        ("normal", normal_tail),
        ("normal_far", |it| {
            it.equal(normal::ln_survival(it.number("z")), "ln_sf");
        }),
        ("normal_quantile", |it| {
            it.equal(normal::upper_quantile(it.number("q")), "z");
        }),
        ("student", student_tail),
        ("student_quantile", |it| {
            let found = student::upper_quantile(it.number("q"), it.number("degrees"));
            it.equal(found, "t");
        }),
        ("chi_square", |it| {
            let found = chi_square::survival(it.number("x"), it.number("degrees"));
            it.equal(found.value(), "p");
        }),
        ("beta", |it| {
            let x = it.number("x");
            let found = beta::ln_regularized(it.number("a"), it.number("b"), (x, 1.0 - x));
            it.equal(found, "ln_p");
        }),
        ("noncentral", |it| {
            let (t, degrees) = (it.number("t"), it.number("degrees"));
            let found = noncentral::student_survival(t, degrees, it.number("shift"));
            it.equal(found, "p");
        }),
        ("welch", welch),
        ("tiny", |it| {
            let contrast = mean(&it.mean("a"))
                .unwrap()
                .against(&mean(&it.mean("b")).unwrap(), Scale::Absolute)
                .unwrap();
            it.equal(contrast.at_one_look(&ask(Side::Both)).p.value(), "p");
        }),
        ("far", far),
        ("gb_mean", gb_mean),
        ("gb_greater", |it| {
            let found = it.against().at_one_look(&ask(Side::Greater));
            it.equal(found.interval.low, "low");
        }),
        ("gb_sequential", gb_sequential),
        ("gb_bayes", gb_bayes),
        ("pooled", pooled),
        ("gb_proportion", |it| {
            let (control, treatment) = shares(it);
            let (control, treatment) = (control.summary().unwrap(), treatment.summary().unwrap());
            let contrast = control.against(&treatment, Scale::Relative).unwrap();
            it.equal(contrast.effect, "effect");
            it.equal(contrast.se, "se");
        }),
        ("gb_ratio", gb_ratio),
        ("gb_cuped", gb_cuped),
        ("ratio_cuped", ratio_cuped),
        ("gb_quantile", |it| {
            it.equal(reading(it).summary(None).unwrap().se(), "se");
        }),
        ("gb_clustered", gb_clustered),
        ("quantile_ranks", quantile_ranks),
        ("multiple", multiple),
        ("srm", |it| {
            let units: Vec<u64> = it.numbers("units").iter().map(|it| *it as u64).collect();
            let found = sample_ratio(&units, &it.numbers("weights")).unwrap();
            it.equal(found.statistic, "statistic");
            it.equal(found.p.value(), "p");
        }),
        ("counts", |it| {
            let counts: Vec<u64> = it.numbers("counts").iter().map(|it| *it as u64).collect();
            let mut process = CountProcess::new(&it.numbers("weights")).unwrap();
            process.observe(&counts).unwrap();
            it.equal(process.log_e_at(it.number("concentration")), "ln_e");
        }),
        ("heterogeneity", segments),
        ("interaction", factorial),
        ("interaction_2x2", factorial),
        ("clusters", clusters),
        ("switchback", switchback),
        ("units", |it| it.equal(units(it, Side::Both), "units")),
        ("units_larger", |it| {
            it.equal(units(it, Side::Greater), "units");
        }),
        ("power", |it| {
            let ask = Ask::two_sided(level(it.number("alpha")));
            let plan = Plan::new(Boundary::OneLook, ask, 0.8).unwrap();
            let (control, ratio) = (it.number("n"), it.number("ratio"));
            let se = (control.recip() + (control * ratio).recip()).sqrt();
            let found = plan.power_at(it.number("effect"), se, control * (1.0 + ratio));
            it.equal(found.unwrap(), "power");
        }),
        ("student_power", |it| {
            let ask = Ask::two_sided(level(it.number("alpha")));
            let found = student_power(it.number("shift"), it.number("degrees"), &ask);
            it.equal(found.unwrap(), "power");
        }),
        ("obf", |it| {
            let spent = SpendingFunction::OBrienFleming
                .spent(level(it.number("alpha")), it.number("information"));
            it.equal(spent.unwrap(), "spent");
        }),
        ("best_beta", |it| {
            let belief = |[hits, misses]: [f64; 2]| Belief::Beta {
                hits: hits as u64,
                misses: misses as u64,
            };
            best(it, belief);
        }),
        ("best_normal", |it| {
            best(it, |[mean, se]| Belief::Normal { mean, se });
        }),
        ("adaptive", adaptive),
    ];
    for (kind, cases) in said {
        let check = checks.iter().find(|(name, _)| name == kind);
        let (_, check) = check.unwrap_or_else(|| panic!("nothing checks {kind}"));
        cases.iter().for_each(check);
    }
    for (kind, _) in checks {
        assert!(
            said.contains_key(*kind),
            "the oracle says nothing of {kind}"
        );
    }
}

fn normal_tail(case: &Case) {
    let z = case.number("z");
    case.equal(normal::survival(z), "sf");
    let wanted = case.number("ln_sf");
    // Next to certainty the logarithm is the complement, which has fewer digits there.
    if wanted < -1e-12 {
        case.equal(normal::ln_survival(z), "ln_sf");
    }
}

fn student_tail(case: &Case) {
    let found = student::two_sided(case.number("t"), case.number("degrees"));
    case.equal(found.value(), "p");
    // A p-value near 1 has a logarithm near 0.
    let tolerance = EQUAL * (1.0 + 1e-6 / case.number("ln_p").abs());
    case.within(found.ln(), "ln_p", tolerance);
    let half = student::survival(case.number("t"), case.number("degrees"));
    close(half.value(), 0.5 * case.number("p"), EQUAL, || {
        "one side".to_owned()
    });
}

fn bounds(case: &Case, found: Interval) {
    case.equal(found.low, "low");
    case.equal(found.high, "high");
}

fn welch(case: &Case) {
    let (control, treatment) = (case.mean("a"), case.mean("b"));
    let contrast = mean(&control)
        .unwrap()
        .against(&mean(&treatment).unwrap(), Scale::Absolute)
        .unwrap();
    case.equal(contrast.degrees.unwrap(), "degrees");
    let found = contrast.at_one_look(&ask(Side::Both));
    case.equal(found.p.value(), "p");
    bounds(case, found.interval);
    let greater = contrast.at_one_look(&ask(Side::Greater));
    case.equal(greater.p.value(), "greater");
    case.equal(greater.interval.low, "greater_low");
    let less = contrast.at_one_look(&ask(Side::Less));
    case.equal(less.p.value(), "less");
    case.equal(less.interval.high, "less_high");
}

fn far(case: &Case) {
    let (control, treatment) = (case.mean("a"), case.mean("b"));
    // The values themselves are rounded to 1e-7 there.
    case.within(control.variance(0).unwrap(), "variance", 1e-6);
    let contrast = mean(&control)
        .unwrap()
        .against(&mean(&treatment).unwrap(), Scale::Absolute)
        .unwrap();
    let found = contrast.at_one_look(&ask(Side::Both)).p.value();
    case.within(found, "p", 1e-3);
}

fn gb_mean(case: &Case) {
    let contrast = case.against();
    case.equal(contrast.effect, "effect");
    case.equal(contrast.se, "se");
    case.equal(contrast.degrees.unwrap(), "degrees");
    let found = contrast.at_one_look(&ask(Side::Both));
    case.equal(found.p.value(), "p");
    bounds(case, found.interval);
}

fn gb_sequential(case: &Case) {
    let sequence = AsymptoticSequence::new(case.number("tuning")).unwrap();
    let found = sequence
        .estimate(&case.against(), &ask(Side::Both))
        .unwrap();
    case.equal(found.p.value(), "p");
    bounds(case, found.interval);
}

fn gb_bayes(case: &Case) {
    let prior = if case.is("proper") {
        Prior::Normal {
            mean: case.number("mean"),
            sd: case.number("sd"),
        }
    } else {
        Prior::Flat
    };
    let found = posterior(&case.against(), prior, level(0.05)).unwrap();
    case.equal(found.effect, "effect");
    case.equal(found.sd, "sd_after");
    bounds(
        case,
        Interval {
            low: found.interval.low,
            high: found.interval.high,
        },
    );
    case.equal(found.chance_to_win, "chance");
    let risks = case.numbers("risk");
    // They subtract what nearly cancels, so a risk far below the spread has fewer digits there.
    for (own, theirs) in [
        (found.risk_of_control, risks[0]),
        (found.risk_of_treatment, risks[1]),
    ] {
        let distance = (own - theirs).abs();
        assert!(
            distance <= EQUAL * theirs.abs() + 1e-12 * found.sd,
            "risk {own:e}, and {theirs:e} there"
        );
    }
}

fn shares(case: &Case) -> (Proportion, Proportion) {
    let arm = |units, hits| Proportion {
        units: case.count(units),
        hits: case.count(hits),
    };
    (arm("own", "hits"), arm("others", "more"))
}

fn pooled(case: &Case) {
    let (control, treatment) = shares(case);
    let (z, p) = pooled_test(control, treatment, Side::Both).unwrap();
    case.equal(z, "z");
    case.equal(p.value(), "p");
    case.within(p.value(), "p_theirs", 1e-8);
    let (_, greater) = pooled_test(control, treatment, Side::Greater).unwrap();
    case.equal(greater.value(), "greater");
    let contrast = control
        .summary()
        .unwrap()
        .against(&treatment.summary().unwrap(), Scale::Absolute)
        .unwrap();
    bounds(case, contrast.at_one_look(&ask(Side::Both)).interval);
}

fn gb_ratio(case: &Case) {
    let (control, treatment) = (joint(case.rows::<2>("a")), joint(case.rows::<2>("b")));
    let contrast = ratio(&control)
        .unwrap()
        .against(&ratio(&treatment).unwrap(), case.scale())
        .unwrap();
    case.equal(contrast.effect, "effect");
    case.equal(contrast.se, "se");
    bounds(case, contrast.at_one_look(&ask(Side::Both)).interval);
}

fn both_scales(case: &Case, control: &Summary, treatment: &Summary) -> Contrast {
    let absolute = control.against(treatment, Scale::Absolute).unwrap();
    case.equal(absolute.effect, "effect");
    case.equal(absolute.se, "se");
    let relative = control.against(treatment, Scale::Relative).unwrap();
    case.equal(relative.effect, "relative");
    case.equal(relative.se, "relative_se");
    absolute
}

fn gb_cuped(case: &Case) {
    let found = adjusted_mean(&joint(case.rows::<2>("a")), &joint(case.rows::<2>("b"))).unwrap();
    case.equal(found.factor, "theta");
    let absolute = both_scales(case, &found.control, &found.treatment);
    bounds(case, absolute.at_one_look(&ask(Side::Both)).interval);
}

fn ratio_cuped(case: &Case) {
    let found = adjusted_ratio(&joint(case.rows::<4>("a")), &joint(case.rows::<4>("b"))).unwrap();
    case.equal(found.factor, "theta");
    both_scales(case, &found.control, &found.treatment);
}

fn reading(case: &Case) -> QuantileReading {
    QuantileReading {
        level: case.number("level"),
        value: case.number("value"),
        lower: case.number("lower"),
        upper: case.number("upper"),
        values: case.count("n"),
        ranked_for: case.count("ranked_for"),
    }
}

fn gb_clustered(case: &Case) {
    let clusters = joint(case.rows::<2>("clusters"));
    let factor = clustering_factor(case.number("level"), &clusters).unwrap();
    case.equal(factor, "factor");
}

fn quantile_ranks(case: &Case) {
    let sequence = QuantileSequence::new(case.number("level"), case.number("tightest")).unwrap();
    let (lower, upper) = sequence.ranks(case.count("n"), level(case.number("alpha")));
    assert_eq!(lower, case.0["lower"].as_u64(), "{}", case.0);
    assert_eq!(upper, case.0["upper"].as_u64(), "{}", case.0);
}

fn multiple(case: &Case) {
    let p: Vec<PValue> = case
        .numbers("p")
        .into_iter()
        .map(PValue::from_value)
        .collect();
    for (found, name) in [
        (holm(&p), "holm"),
        (benjamini_hochberg(&p), "bh"),
        (benjamini_yekutieli(&p), "by"),
    ] {
        for (own, theirs) in found.iter().zip(case.numbers(name)) {
            close(own.value(), theirs, EQUAL, || name.to_owned());
        }
    }
}

fn segments(case: &Case) {
    let all: Vec<Contrast> = case
        .numbers("effects")
        .into_iter()
        .zip(case.numbers("ses"))
        .map(|(effect, se)| Contrast::new(effect, se, None, 100, Scale::Absolute).unwrap())
        .collect();
    let found = heterogeneity(&all).unwrap();
    case.equal(found.pooled, "pooled");
    case.equal(found.statistic, "q");
    case.equal(found.p.value(), "p");
    case.equal(found.unexplained, "i2");
    case.equal(found.segments[2].difference, "third");
    case.equal(found.segments[2].se, "third_se");
}

fn factorial(case: &Case) {
    let cells: Vec<Vec<Option<Summary>>> = case.0["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let cell = |it: &Value| {
                let parts = numbers(it);
                Some(Summary::plain(parts[0] as u64, parts[1], parts[2]))
            };
            row.as_array().unwrap().iter().map(cell).collect()
        })
        .collect();
    let found = interaction(&cells).unwrap();
    if case.0["kind"] == "interaction" {
        case.equal(found.statistic, "statistic");
        assert_eq!(u64::from(found.degrees), case.count("degrees"));
        case.equal(found.p.value(), "p");
    } else {
        case.equal(found.effect.unwrap(), "effect");
        case.equal(found.se.unwrap(), "se");
    }
}

fn clusters(case: &Case) {
    let arm = |name| clustered_mean(&joint(case.rows::<2>(name))).unwrap();
    let found = arm("control")
        .against(&arm("treatment"), Scale::Absolute)
        .unwrap();
    case.equal(found.effect, "effect");
    // Ours has the factor for few clusters.
    let per_arm = case.number("per_arm");
    let uncorrected = found.se * ((per_arm - 1.0) / per_arm).sqrt();
    case.equal(uncorrected, "se_uncorrected");
}

fn switchback(case: &Case) {
    let periods: Vec<Period> = case
        .numbers("values")
        .into_iter()
        .zip(case.numbers("treated"))
        .map(|(total, treated)| Period {
            is_treated: treated > 0.5,
            total,
            count: 1.0,
        })
        .collect();
    let design = Switchback {
        carryover: 0,
        correlated: case.count("lags") as u32,
    };
    let found = design.effect(&periods).unwrap();
    case.equal(found.effect, "effect");
    case.equal(found.se, "se");
}

fn units(case: &Case, side: Side) -> f64 {
    let ask = Ask::one_sided(level(case.number("alpha")), side);
    let plan = Plan::new(Boundary::OneLook, ask, case.number("power")).unwrap();
    let weights = [1.0, case.number("ratio")];
    plan.units_for(case.number("effect"), &weights, &[1.0, 1.0])
        .unwrap()
}

fn best(case: &Case, belief: impl Fn([f64; 2]) -> Belief) {
    let arms: Vec<Belief> = case.rows::<2>("arms").into_iter().map(belief).collect();
    for (own, theirs) in chances_to_be_best(&arms)
        .unwrap()
        .iter()
        .zip(case.numbers("chances"))
    {
        assert!(
            (own - theirs).abs() < EQUAL,
            "{own} is not {theirs}: {}",
            case.0
        );
    }
}

fn adaptive(case: &Case) {
    let mut found = Adaptive::new(2).unwrap();
    for ((arm, value), chances) in case
        .numbers("arm")
        .into_iter()
        .zip(case.numbers("y"))
        .zip(case.rows::<2>("chances"))
    {
        found.observe(arm as usize, value, &chances).unwrap();
    }
    for (arm, (value, variance)) in case
        .numbers("value")
        .into_iter()
        .zip(case.numbers("variance"))
        .enumerate()
    {
        let own = found.summary(arm).unwrap();
        close(own.value, value, EQUAL, || format!("value of arm {arm}"));
        close(own.se().powi(2), variance, EQUAL, || {
            format!("variance of arm {arm}")
        });
    }
    let sequence = AsymptoticSequence::default();
    let always = found.always(1, &sequence, &ask(Side::Both)).unwrap();
    case.equal(always.effect, "gap");
    case.equal(always.se.unwrap(), "gap_se");
}
