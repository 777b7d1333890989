//! The functions: names, argument types, and what evaluates them.
//!
//! Guarantees: every function of Prometheus 3 is here. Those that it has behind a switch are marked.

use crate::Histogram;
use crate::ast::ValueType::{self, Matrix, Scalar, String as Text, Vector};
use crate::eval::over::OverSamples;
use crate::eval::{civil, over, rate, window, window::Window};

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
    /// The types of its arguments, and how many of them may be left out, from the end; −1 where the last may be
    /// repeated.
    pub fn signature(&self) -> (&'static [ValueType], i32) {
        let optional = i32::try_from(self.optional).unwrap_or(0);
        (self.args, if self.repeats { -1 } else { optional })
    }

    /// Fewest and most arguments.
    pub(crate) fn arity(&self) -> (usize, Option<usize>) {
        let most = (!self.repeats).then_some(self.args.len());
        (self.args.len() - self.optional, most)
    }

    pub(crate) fn is_experimental(&self) -> bool {
        EXPERIMENTAL.contains(&self.name)
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
    /// Each histogram by itself.
    OfHistogram(fn(&Histogram) -> f64),
    /// The numbers of each range by itself.
    Over(fn(&Window<'_>) -> Option<f64>),
    /// The numbers of each range with scalars beside it.
    OverWith(fn(&Window<'_>, &[f64]) -> Result<Option<f64>, String>),
    /// The samples of each range, numbers and histograms.
    Samples(OverSamples),
    /// Like `Samples`, keeping the metric's name.
    SamplesNamed(OverSamples),
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
    HistogramFraction,
    HistogramQuantile,
    HistogramQuantiles,
    Info,
    LabelJoin,
    LabelReplace,
    MaxOf,
    MinOf,
    Range,
    Round,
    Scalar,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Start,
    StartTimestamp,
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

const fn floats(name: &'static str, f: fn(&Window<'_>) -> Option<f64>) -> Function {
    plain(name, &[Matrix], Vector, Kind::Over(f))
}

const fn samples(name: &'static str, f: OverSamples) -> Function {
    plain(name, &[Matrix], Vector, Kind::Samples(f))
}

const fn of_histogram(name: &'static str, f: fn(&Histogram) -> f64) -> Function {
    plain(name, &[Vector], Vector, Kind::OfHistogram(f))
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
    samples("rate", rate::rate),
    samples("irate", rate::irate),
    samples("increase", rate::increase),
    samples("delta", rate::delta),
    samples("idelta", rate::idelta),
    floats("deriv", window::deriv),
    samples("resets", over::resets),
    samples("changes", over::changes),
    samples("avg_over_time", over::avg),
    floats("min_over_time", window::min),
    floats("max_over_time", window::max),
    samples("sum_over_time", over::sum),
    samples("count_over_time", over::count),
    floats("stddev_over_time", window::stddev),
    floats("stdvar_over_time", window::stdvar),
    floats("mad_over_time", window::mad),
    samples("present_over_time", over::present),
    samples("ts_of_first_over_time", over::ts_of_first),
    samples("ts_of_last_over_time", over::ts_of_last),
    floats("ts_of_min_over_time", window::ts_of_min),
    floats("ts_of_max_over_time", window::ts_of_max),
    plain(
        "last_over_time",
        &[Matrix],
        Vector,
        Kind::SamplesNamed(over::last),
    ),
    plain(
        "first_over_time",
        &[Matrix],
        Vector,
        Kind::SamplesNamed(over::first),
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
    of_histogram("histogram_avg", |h| h.sum / h.count),
    of_histogram("histogram_count", |h| h.count),
    of_histogram("histogram_stddev", |h| h.variance().sqrt()),
    of_histogram("histogram_stdvar", Histogram::variance),
    of_histogram("histogram_sum", |h| h.sum),
    special(
        "histogram_fraction",
        &[Scalar, Scalar, Vector],
        Vector,
        Special::HistogramFraction,
    ),
    Function {
        repeats: true,
        ..special(
            "histogram_quantiles",
            &[Vector, Text, Scalar],
            Vector,
            Special::HistogramQuantiles,
        )
    },
    Function {
        optional: 1,
        ..special("info", &[Vector, Vector], Vector, Special::Info)
    },
    special("max_of", &[Scalar, Scalar], Scalar, Special::MaxOf),
    special("min_of", &[Scalar, Scalar], Scalar, Special::MinOf),
    Function {
        optional: 1,
        repeats: true,
        ..special(
            "sort_by_label",
            &[Vector, Text],
            Vector,
            Special::SortByLabel,
        )
    },
    Function {
        optional: 1,
        repeats: true,
        ..special(
            "sort_by_label_desc",
            &[Vector, Text],
            Vector,
            Special::SortByLabelDesc,
        )
    },
    special(
        "start_timestamp",
        &[Vector],
        Vector,
        Special::StartTimestamp,
    ),
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

/// Functions behind Prometheus's switch for experimental ones.
const EXPERIMENTAL: [&str; 12] = [
    "double_exponential_smoothing",
    "first_over_time",
    "histogram_quantiles",
    "info",
    "mad_over_time",
    "sort_by_label",
    "sort_by_label_desc",
    "start_timestamp",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
];

pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}
