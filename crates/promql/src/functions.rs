//! The functions: names, argument types, and what evaluates them.
//!
//! Guarantees: a function of Prometheus that is missing here is known by name, so that its use is reported
//! as unsupported instead of unknown.

use crate::ast::ValueType::{self, Matrix, Scalar, String as Text, Vector};
use crate::eval::{civil, window, window::Window};

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it gives.
    pub returns: ValueType,
    args: &'static [ValueType],
    /// How many of `args` may be left out, from the end.
    optional: usize,
    /// The last argument may be repeated.
    repeats: bool,
    pub(crate) kind: Kind,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Function {
    /// Fewest and most arguments.
    pub(crate) fn arity(&self) -> (usize, Option<usize>) {
        let most = (!self.repeats).then_some(self.args.len());
        (self.args.len() - self.optional, most)
    }

    pub(crate) fn arg_type(&self, at: usize) -> ValueType {
        let last = self.args.len().saturating_sub(1);
        self.args.get(at.min(last)).copied().unwrap_or(Vector)
    }
}

/// How a function is evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Each value by itself.
    Math(fn(f64) -> f64),
    /// Each value as a UTC time in seconds; without argument, the step's time.
    Date(fn(i64) -> f64),
    /// Each range by itself.
    Over(fn(&Window<'_>) -> Option<f64>),
    /// Each range by itself, keeping the metric's name.
    OverNamed(fn(&Window<'_>) -> Option<f64>),
    /// Each range with scalars beside it.
    OverWith(fn(&Window<'_>, &[f64]) -> Result<Option<f64>, String>),
    /// A number.
    Constant(f64),
    /// By its own code.
    Special(Special),
}

/// Functions with code of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Absent,
    AbsentOverTime,
    Clamp,
    ClampMax,
    ClampMin,
    End,
    HistogramQuantile,
    LabelJoin,
    LabelReplace,
    Range,
    Round,
    Scalar,
    Sort,
    SortDesc,
    Start,
    Step,
    Time,
    Timestamp,
    Vector,
}

const fn plain(
    name: &'static str,
    args: &'static [ValueType],
    returns: ValueType,
    kind: Kind,
) -> Function {
    Function {
        name,
        returns,
        args,
        optional: 0,
        repeats: false,
        kind,
    }
}

const fn math(name: &'static str, f: fn(f64) -> f64) -> Function {
    plain(name, &[Vector], Vector, Kind::Math(f))
}

const fn date(name: &'static str, f: fn(i64) -> f64) -> Function {
    Function {
        optional: 1,
        ..plain(name, &[Vector], Vector, Kind::Date(f))
    }
}

const fn over(name: &'static str, f: fn(&Window<'_>) -> Option<f64>) -> Function {
    plain(name, &[Matrix], Vector, Kind::Over(f))
}

const fn special(
    name: &'static str,
    args: &'static [ValueType],
    returns: ValueType,
    special: Special,
) -> Function {
    plain(name, args, returns, Kind::Special(special))
}

static FUNCTIONS: &[Function] = &[
    math("abs", f64::abs),
    math("ceil", f64::ceil),
    math("floor", f64::floor),
    math("exp", f64::exp),
    math("ln", f64::ln),
    math("log2", f64::log2),
    math("log10", f64::log10),
    math("sqrt", f64::sqrt),
    math("sgn", |v| {
        if v == 0.0 || v.is_nan() {
            v
        } else {
            v.signum()
        }
    }),
    math("sin", f64::sin),
    math("cos", f64::cos),
    math("tan", f64::tan),
    math("asin", f64::asin),
    math("acos", f64::acos),
    math("atan", f64::atan),
    math("sinh", f64::sinh),
    math("cosh", f64::cosh),
    math("tanh", f64::tanh),
    math("asinh", f64::asinh),
    math("acosh", f64::acosh),
    math("atanh", f64::atanh),
    math("deg", |v| v * 180.0 / std::f64::consts::PI),
    math("rad", |v| v * std::f64::consts::PI / 180.0),
    plain("pi", &[], Scalar, Kind::Constant(std::f64::consts::PI)),
    date("minute", civil::minute),
    date("hour", civil::hour),
    date("day_of_week", civil::day_of_week),
    date("day_of_month", civil::day_of_month),
    date("day_of_year", civil::day_of_year),
    date("days_in_month", civil::days_in_month),
    date("month", civil::month),
    date("year", civil::year),
    over("rate", window::rate),
    over("irate", window::irate),
    over("increase", window::increase),
    over("delta", window::delta),
    over("idelta", window::idelta),
    over("deriv", window::deriv),
    over("resets", window::resets),
    over("changes", window::changes),
    over("avg_over_time", window::avg),
    over("min_over_time", window::min),
    over("max_over_time", window::max),
    over("sum_over_time", window::sum),
    over("count_over_time", window::count),
    over("stddev_over_time", window::stddev),
    over("stdvar_over_time", window::stdvar),
    over("mad_over_time", window::mad),
    over("present_over_time", |_| Some(1.0)),
    over("ts_of_first_over_time", window::ts_of_first),
    over("ts_of_last_over_time", window::ts_of_last),
    over("ts_of_min_over_time", window::ts_of_min),
    over("ts_of_max_over_time", window::ts_of_max),
    plain(
        "last_over_time",
        &[Matrix],
        Vector,
        Kind::OverNamed(window::last),
    ),
    plain(
        "first_over_time",
        &[Matrix],
        Vector,
        Kind::OverNamed(window::first),
    ),
    plain(
        "predict_linear",
        &[Matrix, Scalar],
        Vector,
        Kind::OverWith(window::predict_linear),
    ),
    plain(
        "quantile_over_time",
        &[Scalar, Matrix],
        Vector,
        Kind::OverWith(window::quantile),
    ),
    plain(
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Vector,
        Kind::OverWith(window::smoothing),
    ),
    special("absent", &[Vector], Vector, Special::Absent),
    special(
        "absent_over_time",
        &[Matrix],
        Vector,
        Special::AbsentOverTime,
    ),
    special("clamp", &[Vector, Scalar, Scalar], Vector, Special::Clamp),
    special("clamp_max", &[Vector, Scalar], Vector, Special::ClampMax),
    special("clamp_min", &[Vector, Scalar], Vector, Special::ClampMin),
    special("end", &[], Scalar, Special::End),
    special(
        "histogram_quantile",
        &[Scalar, Vector],
        Vector,
        Special::HistogramQuantile,
    ),
    Function {
        optional: 1,
        repeats: true,
        ..special(
            "label_join",
            &[Vector, Text, Text, Text],
            Vector,
            Special::LabelJoin,
        )
    },
    special(
        "label_replace",
        &[Vector, Text, Text, Text, Text],
        Vector,
        Special::LabelReplace,
    ),
    special("range", &[], Scalar, Special::Range),
    Function {
        optional: 1,
        ..special("round", &[Vector, Scalar], Vector, Special::Round)
    },
    special("scalar", &[Vector], Scalar, Special::Scalar),
    special("sort", &[Vector], Vector, Special::Sort),
    special("sort_desc", &[Vector], Vector, Special::SortDesc),
    special("start", &[], Scalar, Special::Start),
    special("step", &[], Scalar, Special::Step),
    special("time", &[], Scalar, Special::Time),
    special("timestamp", &[Vector], Vector, Special::Timestamp),
    special("vector", &[Scalar], Vector, Special::Vector),
];

/// Functions of Prometheus that this engine lacks.
const ELSEWHERE: [&str; 14] = [
    "histogram_avg",
    "histogram_count",
    "histogram_fraction",
    "histogram_quantiles",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "holt_winters",
    "info",
    "max_of",
    "min_of",
    "sort_by_label",
    "sort_by_label_desc",
    "start_timestamp",
];

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

pub(crate) fn is_known_elsewhere(name: &str) -> bool {
    ELSEWHERE.contains(&name)
}
