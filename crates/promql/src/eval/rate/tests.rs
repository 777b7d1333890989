use super::*;

fn window<'a>(timestamps: &'a [i64], values: &'a [f64], start: i64, end: i64) -> Window<'a> {
    Window {
        timestamps,
        values,
        histograms: None,
        starts: None,
        start_ms: start,
        end_ms: end,
        eval_ms: end,
    }
}

fn grown(w: &Window<'_>, flavour: Flavour) -> Option<f64> {
    let (notes, labels) = (crate::note::Notebook::default(), crate::Labels::default());
    let scope = Scope::new(&notes, crate::Span::default(), &labels, Edges::Plain);
    extrapolated_floats(w, &scope, flavour)
}

#[test]
fn a_counter_is_not_extrapolated_below_zero() {
    let w = window(&[10_000, 20_000], &[1.0, 11.0], 0, 20_000);
    // One second before the first sample it would have been zero.
    assert_eq!(grown(&w, INCREASE), Some(11.0));
    assert_eq!(grown(&w, DELTA), Some(20.0));
}

#[test]
fn a_wide_gap_is_extrapolated_by_half_an_interval() {
    let w = window(&[50_000, 60_000], &[100.0, 110.0], 0, 60_000);
    assert_eq!(grown(&w, INCREASE), Some(15.0));
}

#[test]
fn a_reset_counts_from_zero() {
    let w = window(&[0, 10_000, 20_000], &[5.0, 2.0, 4.0], -1, 20_000);
    assert!((grown(&w, INCREASE).unwrap() - 4.0).abs() < 0.001);
}

#[test]
fn a_start_inside_the_range_replaces_extrapolation() {
    let w = Window {
        starts: Some(&[5_000]),
        ..window(&[10_000], &[3.0], 0, 10_000)
    };
    assert_eq!(grown(&w, INCREASE), Some(3.0));
    assert_eq!(grown(&w, DELTA), None);
}
