"""What scipy, statsmodels, gbstats and mpmath say: one JSON object a line, with inputs and the values they give.

Run by the tests of this crate, which compute the same in Rust and compare. Data come from fixed seeds.
"""

import json
import sys
import warnings

import mpmath
import numpy as np
import scipy.stats as ss
import statsmodels.api as sm
from gbstats.bayesian.tests import EffectBayesianABTest, EffectBayesianConfig, GaussianPrior
from gbstats.frequentist.tests import (
    FrequentistConfig,
    OneSidedTreatmentGreaterTTest,
    SequentialConfig,
    SequentialTwoSidedTTest,
    TwoSidedTTest,
)
from gbstats.models.statistics import (
    ProportionStatistic,
    QuantileClusteredStatistic,
    QuantileStatistic,
    RatioStatistic,
    RegressionAdjustedStatistic,
    SampleMeanStatistic,
    compute_theta,
)
from scipy.special import gammaln
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

warnings.filterwarnings("ignore")
mpmath.mp.dps = 60
rng = np.random.default_rng(20260101)


def say(kind, **values):
    def plain(it):
        if isinstance(it, np.ndarray):
            return [plain(one) for one in it]
        if isinstance(it, (list, tuple)):
            return [plain(one) for one in it]
        if isinstance(it, (np.floating, mpmath.mpf)):
            return float(it)
        if isinstance(it, np.integer):
            return int(it)
        return it

    print(json.dumps({"kind": kind} | {name: plain(it) for name, it in values.items()}, allow_nan=False))


def tails():
    for z in [-40, -8, -3, -1, -0.5, -1e-9, 0, 1e-3, 0.3, 1, 1.96, 2.5, 4.999, 5.001, 6, 8, 12, 20, 30, 37, 37.5]:
        say("normal", z=z, sf=ss.norm.sf(z), ln_sf=ss.norm.logsf(z))
        exact = mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) / 2
        say("normal", z=z, sf=exact, ln_sf=mpmath.log(exact))
    for z in [50, 1e3, 1e6]:
        say("normal_far", z=z, ln_sf=ss.norm.logsf(z))
    for q in [0.5, 0.499999, 0.4, 0.25, 0.1, 0.05, 0.025, 0.005, 1e-4, 1e-8, 1e-20, 1e-100, 1e-300, 0.75, 0.999]:
        say("normal_quantile", q=q, z=ss.norm.isf(q))
    for degrees in [1, 2, 3.7, 10, 30, 257.3, 1e4, 1e6, 1e9, 1e12]:
        for t in [1e-6, 0.1, 0.7, 1, 1.3, 1.7320508, 1.8, 2.5, 4, 9, 20, 37, 100]:
            nu, x = mpmath.mpf(degrees), mpmath.mpf(t)
            if degrees <= 1e4:
                p = mpmath.betainc(nu / 2, 0.5, 0, nu / (nu + x * x), regularized=True)
            else:
                # Arbitrary precision by integrating the density is exact where the function above gives up.
                front = mpmath.exp(mpmath.loggamma((nu + 1) / 2) - mpmath.loggamma(nu / 2)) / mpmath.sqrt(nu * mpmath.pi)
                scale = 1 / (x + 1)
                points = [x] + [x + k * scale for k in (1, 3, 8, 20, 60, 200)]
                p = 2 * front * mpmath.quad(lambda s: (1 + s * s / nu) ** (-(nu + 1) / 2), points)
            say("student", t=t, degrees=degrees, p=p, ln_p=mpmath.log(p))
    for degrees, t in [(4.2, 2.1), (50, 5), (11, 0.3), (1e5, 30), (200, 60)]:
        say("student", t=t, degrees=degrees, p=2 * ss.t.sf(t, degrees), ln_p=ss.t.logsf(t, degrees) + np.log(2))
    for degrees in [1, 2, 5.5, 30, 1000, 1e7]:
        for q in [0.49, 0.3, 0.1, 0.025, 0.005, 1e-5, 1e-12, 0.9]:
            say("student_quantile", q=q, degrees=degrees, t=ss.t.isf(q, degrees))
    for degrees in [1, 2, 3, 10, 99, 999]:
        for x in [1e-6, 0.5, 1, 3.84, 10, 40, 130, 500, 1300]:
            exact = mpmath.gammainc(mpmath.mpf(degrees) / 2, mpmath.mpf(x) / 2, regularized=True)
            if exact > 1e-320:
                say("chi_square", x=x, degrees=degrees, p=exact)
            if 1e-300 < ss.chi2.sf(x, degrees):
                say("chi_square", x=x, degrees=degrees, p=ss.chi2.sf(x, degrees))
    for a, b in [(1, 1), (2, 3), (0.5, 40), (600, 6), (1e3, 2e3), (1e6 + 1, 2e6)]:
        for q in [1e-250, 1e-30, 1e-5, 0.01, 0.3, 0.5, 0.9]:
            x = ss.beta.ppf(q, a, b)
            if 0 < x < 1:
                p = mpmath.betainc(a, b, 0, mpmath.mpf(x), regularized=True) if a < 1e3 else ss.beta.cdf(x, a, b)
                say("beta", a=a, b=b, x=x, ln_p=mpmath.log(p))
    for degrees in [1, 3, 8, 28, 198, 1e5]:
        for shift in [0, 0.5, 1.7, 2.8, 5]:
            for t in [0.5, 1.96, 3]:
                sf = ss.nct.sf(t, degrees, shift) if shift else ss.t.sf(t, degrees)
                say("noncentral", t=t, degrees=degrees, shift=shift, p=sf)


def moments(values):
    return {"n": len(values), "sum": float(values.sum()), "sum_squares": float((values**2).sum())}


def mean_of(values):
    return SampleMeanStatistic(**moments(values))


def means():
    for own, others, shift, spread in [(40, 25, 0.4, 1.0), (500, 800, 0.02, 2.0), (300, 300, 5.0, 0.5), (900, 1000, 3.2, 1.0)]:
        a = rng.lognormal(0, 0.5, own)
        b = rng.lognormal(0, 0.5, others) * spread + shift
        found = ss.ttest_ind(b, a, equal_var=False)
        interval = found.confidence_interval(0.95)
        greater = ss.ttest_ind(b, a, equal_var=False, alternative="greater")
        less = ss.ttest_ind(b, a, equal_var=False, alternative="less")
        say(
            "welch", a=a, b=b, p=found.pvalue, low=interval.low, high=interval.high, greater=greater.pvalue,
            less=less.pvalue, greater_low=greater.confidence_interval(0.95).low,
            less_high=less.confidence_interval(0.95).high, degrees=found.df,
        )
        for relative in ["relative", "absolute"]:
            test = TwoSidedTTest(mean_of(a), mean_of(b), FrequentistConfig(difference_type=relative, alpha=0.05))
            result = test.compute_result()
            say(
                "gb_mean", a=a, b=b, relative=relative == "relative", effect=result.expected, se=result.uplift.stddev,
                low=result.ci[0], high=result.ci[1], t=test.critical_value, degrees=test.dof,
                p=2 * ss.t.sf(abs(test.critical_value), test.dof),
            )
            one = OneSidedTreatmentGreaterTTest(mean_of(a), mean_of(b), FrequentistConfig(difference_type=relative))
            say("gb_greater", a=a, b=b, relative=relative == "relative", low=one.confidence_interval[0])
            sequential = SequentialTwoSidedTTest(
                mean_of(a), mean_of(b),
                SequentialConfig(difference_type=relative, alpha=0.05, sequential_tuning_parameter=700),
            )
            result = sequential.compute_result()
            if result.p_value > 1e-300:
                say(
                    "gb_sequential", a=a, b=b, relative=relative == "relative", tuning=700, low=result.ci[0],
                    high=result.ci[1], p=result.p_value,
                )
            for proper in [False, True]:
                prior = GaussianPrior(mean=0.01, variance=0.09, proper=proper)
                bayes = EffectBayesianABTest(
                    mean_of(a), mean_of(b),
                    EffectBayesianConfig(difference_type=relative, prior_effect=prior, prior_type=relative),
                )
                result = bayes.compute_result()
                say(
                    "gb_bayes", a=a, b=b, relative=relative == "relative", mean=0.01, sd=0.3, proper=proper,
                    effect=result.expected, sd_after=result.uplift.stddev, low=result.ci[0], high=result.ci[1],
                    chance=ss.norm.cdf(result.expected / result.uplift.stddev), risk=result.risk,
                )
    tiny = ss.ttest_ind(rng.normal(3, 1, 400) + 2, rng.normal(0, 1, 400), equal_var=False)
    a, b = rng.normal(0, 1, 420), rng.normal(8, 1, 400)
    found = ss.ttest_ind(b, a, equal_var=False)
    assert found.pvalue < 1e-200 and tiny.pvalue < 1e-100
    say("tiny", a=a, b=b, p=found.pvalue)
    # A mean a billion times the spread, where sums of squares keep nothing.
    a, b = 1e9 + rng.normal(0, 1, 300), 1e9 + 0.02 + rng.normal(0, 1, 300)
    say("far", a=a, b=b, variance=np.var(a, ddof=1), p=ss.ttest_ind(b, a, equal_var=False).pvalue)


def proportions():
    for own, hits, others, more in [(1000, 100, 1000, 130), (50, 3, 70, 9), (10**6, 10**4, 10**6, 12000), (200, 0, 200, 5), (10**6, 10**5, 10**6, 115000)]:
        z, p = proportions_ztest([more, hits], [others, own])
        _, greater = proportions_ztest([more, hits], [others, own], alternative="larger")
        low, high = confint_proportions_2indep(more, others, hits, own, method="wald", compare="diff")
        case = dict(own=own, hits=hits, others=others, more=more)
        # Its p-value is one minus a distribution function for one side, so take it from the statistic.
        say("pooled", **case, z=z, p=2 * ss.norm.sf(abs(z)), p_theirs=p, greater=ss.norm.sf(z), low=low, high=high)
        if hits:
            test = TwoSidedTTest(ProportionStatistic(own, hits), ProportionStatistic(others, more), FrequentistConfig(difference_type="relative"))
            say("gb_proportion", **case, effect=test.point_estimate, se=np.sqrt(test.variance))


def ratios():
    for size in [60, 4000]:
        arms = []
        for lift in [1.0, 1.04]:
            views = rng.poisson(6, size) + 1.0
            before_views = rng.poisson(6, size) + 1.0
            taste = rng.beta(2, 8, size)
            clicks = rng.binomial(views.astype(int), np.clip(taste * lift, 0, 1)).astype(float)
            before = rng.binomial(before_views.astype(int), taste).astype(float)
            arms.append((clicks, views, before, before_views))
        stats = [
            RatioStatistic(
                n=size, m_statistic=mean_of(m), d_statistic=mean_of(d), m_d_sum_of_products=float((m * d).sum())
            )
            for m, d, _, _ in arms
        ]
        for relative in ["relative", "absolute"]:
            test = TwoSidedTTest(*stats, FrequentistConfig(difference_type=relative))
            result = test.compute_result()
            say(
                "gb_ratio", a=np.column_stack(arms[0][:2]), b=np.column_stack(arms[1][:2]), relative=relative == "relative",
                effect=result.expected, se=result.uplift.stddev, low=result.ci[0], high=result.ci[1],
            )
        # CUPED of a mean: gbstats, absolute.
        adjusted = [
            RegressionAdjustedStatistic(
                n=size, post_statistic=mean_of(m), pre_statistic=mean_of(x), post_pre_sum_of_products=float((m * x).sum()), theta=0
            )
            for m, _, x, _ in arms
        ]
        theta = compute_theta(*adjusted)
        for it in adjusted:
            it.theta = theta
        result = TwoSidedTTest(*adjusted, FrequentistConfig(difference_type="absolute")).compute_result()
        # Relative: the delta method by unit-level influence, which knows nothing of moments.
        (m0, _, x0, _), (m1, _, x1, _) = arms
        base = m0.mean()
        lift = ((m1 - theta * x1).mean() - (m0 - theta * x0).mean()) / base
        influence_control = -(m0 - theta * x0) / base - lift * m0 / base
        influence_treatment = (m1 - theta * x1) / base
        relative_se = np.sqrt(np.var(influence_control, ddof=1) / size + np.var(influence_treatment, ddof=1) / size)
        say(
            "gb_cuped", a=np.column_stack([m0, x0]), b=np.column_stack([m1, x1]), theta=theta, effect=result.expected,
            se=result.uplift.stddev, low=result.ci[0], high=result.ci[1], relative=lift, relative_se=relative_se,
        )
        # CUPED of a ratio, by influence too.
        def linear(arm):
            m, d, m_before, d_before = arm
            now, past = m.sum() / d.sum(), m_before.sum() / d_before.sum()
            return now, past, (m - now * d) / d.mean(), (m_before - past * d_before) / d_before.mean()

        (now0, past0, l0, k0), (now1, past1, l1, k1) = linear(arms[0]), linear(arms[1])
        cov = np.cov(l0, k0)[0, 1] / size + np.cov(l1, k1)[0, 1] / size
        var = np.var(k0, ddof=1) / size + np.var(k1, ddof=1) / size
        theta = cov / var
        effect = (now1 - theta * past1) - (now0 - theta * past0)
        se = np.sqrt(np.var(l0 - theta * k0, ddof=1) / size + np.var(l1 - theta * k1, ddof=1) / size)
        relative = effect / now0
        relative_se = np.sqrt(
            np.var(-(l0 - theta * k0) - relative * l0, ddof=1) / size + np.var(l1 - theta * k1, ddof=1) / size
        ) / now0
        say(
            "ratio_cuped", a=np.column_stack(arms[0]), b=np.column_stack(arms[1]), theta=theta, effect=effect, se=se,
            relative=relative, relative_se=relative_se,
        )


def quantiles():
    for level, n in [(0.5, 400), (0.9, 2000), (0.99, 50_000)]:
        stat = QuantileStatistic(n=n, n_star=n - 7, nu=level, quantile_hat=2.0, quantile_lower=1.9, quantile_upper=2.2)
        say("gb_quantile", level=level, n=n, ranked_for=n - 7, value=2.0, lower=1.9, upper=2.2, se=np.sqrt(stat.variance / n))
        clusters = 300
        sizes = rng.poisson(n / clusters, clusters) + 1.0
        hits = rng.binomial(sizes.astype(int), np.clip(rng.normal(level, 0.05, clusters), 0, 1)).astype(float)
        stat = QuantileClusteredStatistic(
            n=n, n_star=n, nu=level, quantile_hat=2.0, quantile_lower=1.9, quantile_upper=2.2, main_sum=hits.sum(),
            main_sum_squares=(hits**2).sum(), denominator_sum=sizes.sum(), denominator_sum_squares=(sizes**2).sum(),
            main_denominator_sum_product=(hits * sizes).sum(), n_clusters=clusters,
        )
        # It divides by the variance of n values, of which here are not exactly the clusters' many.
        factor = stat.get_cluster_variance / (level * (1 - level) / sizes.sum())
        say("gb_clustered", level=level, n=n, clusters=np.column_stack([hits, sizes]), factor=factor, v_cluster=stat.get_cluster_variance)
    for level, n in [(0.5, 100), (0.9, 1000), (0.99, 20_000), (0.99, 60)]:
        alpha, tightest = 0.05, 5000
        weight = tightest / (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1))

        def one_sided(p, a, b, k, m):
            # The upper end of one distribution is the lower end of its mirror image, where nothing cancels.
            front = mpmath.betainc(b + m, a + k, 0, 1 - mpmath.mpf(p)) / mpmath.betainc(b, a, 0, 1 - mpmath.mpf(p))
            return front / (mpmath.mpf(p) ** k * (1 - mpmath.mpf(p)) ** m)

        a, b = weight * level, weight * (1 - level)
        needed = 2 / alpha

        def first(low, high, holds):
            if not holds(high):
                return None
            while low < high:
                middle = (low + high) // 2
                low, high = (low, middle) if holds(middle) else (middle + 1, high)
            return low

        mpmath.mp.dps = 25
        upper = first(0, n, lambda k: one_sided(level, a, b, k, n - k) >= needed)
        lower = first(0, n, lambda k: one_sided(1 - level, b, a, n - k, k) < needed)
        mpmath.mp.dps = 60
        say("quantile_ranks", level=level, n=n, alpha=alpha, tightest=tightest, upper=upper, lower=lower or None)


def many():
    for size in [1, 5, 40]:
        p = rng.beta(0.3, 3, size)
        p[0] = 1e-280
        adjusted = {name: multipletests(p, method=method)[1] for name, method in [("holm", "holm"), ("bh", "fdr_bh"), ("by", "fdr_by")]}
        say("multiple", p=p, **adjusted)
    for units, weights in [([5050, 4950], [1, 1]), ([100, 210, 305], [1, 2, 3]), ([60000, 40000], [0.5, 0.5]), ([1003, 0, 998], [1, 0, 1])]:
        live = [i for i, weight in enumerate(weights) if weight > 0]
        seen = np.array([units[i] for i in live])
        share = np.array([weights[i] for i in live]) / sum(weights)
        found = ss.chisquare(seen, share * seen.sum())
        say("srm", units=units, weights=weights, statistic=found.statistic, p=found.pvalue)
    for counts, weights in [([12, 30], [1, 1]), ([500, 520, 1100], [1, 1, 2]), ([0, 7], [3, 1]), ([50_000, 50_900], [1, 1])]:
        for concentration in [1, 10, 10_000]:
            x, w = np.array(counts), np.array(weights) / sum(weights)
            a = concentration * w
            exact = mpmath.loggamma(concentration) - mpmath.loggamma(concentration + int(x.sum()))
            for one, prior, share in zip(counts, a, w):
                exact += mpmath.loggamma(mpmath.mpf(float(prior)) + one) - mpmath.loggamma(mpmath.mpf(float(prior))) - one * mpmath.log(mpmath.mpf(float(share)))
            theirs = gammaln(concentration) - gammaln(concentration + x.sum()) + (gammaln(a + x) - gammaln(a) - x * np.log(w)).sum()
            assert abs(theirs - float(exact)) < 1e-6 * max(1, abs(theirs))
            say("counts", counts=counts, weights=weights, concentration=concentration, ln_e=exact)
    effects, ses = rng.normal(0.1, 0.2, 7), rng.uniform(0.05, 0.2, 7)
    found = combine_effects(effects, ses**2, method_re="dl")
    rest = np.arange(7) != 2
    others = combine_effects(effects[rest], ses[rest] ** 2, method_re="dl")
    say(
        "heterogeneity", effects=effects, ses=ses, pooled=found.mean_effect_fe, q=found.q, p=ss.chi2.sf(found.q, 6),
        i2=max(0, found.i2), third=effects[2] - others.mean_effect_fe,
        third_se=np.sqrt(ses[2] ** 2 + others.var_hksj_fe * 0 + 1 / (1 / ses[rest] ** 2).sum()),
    )


def factorial():
    cells = [[rng.normal(1 + 0.3 * a + 0.2 * b + 0.15 * a * b, 1 + 0.2 * a, 150 + 40 * b) for b in range(3)] for a in range(2)]
    y = np.concatenate([cell.mean(keepdims=True) for row in cells for cell in row])
    weight = np.array([len(cell) / np.var(cell, ddof=1) for row in cells for cell in row])
    a = np.repeat([0, 1], 3)
    b = np.tile([0, 1, 2], 2)
    design = np.column_stack([np.ones(6), a, b == 1, b == 2]).astype(float)
    fit = sm.WLS(y, design, weights=weight).fit()
    misfit = float((weight * (y - fit.fittedvalues) ** 2).sum())
    summaries = [[[len(cell), cell.mean(), np.var(cell, ddof=1)] for cell in row] for row in cells]
    say("interaction", cells=summaries, statistic=misfit, degrees=2, p=ss.chi2.sf(misfit, 2))
    # Two by two: least squares on the units with robust errors (HC2 is the unbiased variance of each cell).
    rows, values = [], []
    for i in range(2):
        for j in range(2):
            for one in cells[i][j]:
                rows.append([1, i, j, i * j])
                values.append(one)
    fit = sm.OLS(values, np.array(rows, dtype=float)).fit(cov_type="HC2")
    say("interaction_2x2", cells=[row[:2] for row in summaries], effect=fit.params[3], se=np.sqrt(fit.cov_params()[3, 3]))


def designs():
    groups, values, treated, flat = 24, [], [], []
    totals = {0: [], 1: []}
    for group in range(groups):
        arm = group % 2
        size = int(rng.integers(5, 60))
        own = rng.normal(rng.normal(1 + 0.2 * arm, 0.3), 1, size)
        values += list(own)
        treated += [arm] * size
        flat += [group] * size
        totals[arm].append([own.sum(), float(size)])
    design = sm.add_constant(np.array(treated, dtype=float))
    fit = sm.OLS(values, design).fit(cov_type="cluster", cov_kwds={"groups": np.array(flat), "use_correction": False})
    say("clusters", control=totals[0], treatment=totals[1], effect=fit.params[1], se_uncorrected=np.sqrt(fit.cov_params()[1, 1]), per_arm=groups // 2)
    periods = 300
    arm = (np.arange(periods) // 3) % 2
    noise = np.zeros(periods)
    for at in range(1, periods):
        noise[at] = 0.6 * noise[at - 1] + rng.normal()
    y = 10 + 0.5 * arm + noise
    for lags in [0, 4, 12]:
        fit = sm.OLS(y, sm.add_constant(arm.astype(float))).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
        say("switchback", values=y, treated=arm, lags=lags, effect=fit.params[1], se=np.sqrt(fit.cov_params()[1, 1]))


def plans():
    for effect, ratio, alpha, power in [(0.05, 1, 0.05, 0.8), (0.02, 3, 0.01, 0.9), (0.4, 0.5, 0.1, 0.7)]:
        n1 = NormalIndPower().solve_power(effect, alpha=alpha, power=power, ratio=ratio)
        say("units", effect=effect, ratio=ratio, alpha=alpha, power=power, units=n1 * (1 + ratio))
        larger = NormalIndPower().solve_power(effect, alpha=alpha, power=power, ratio=ratio, alternative="larger")
        say("units_larger", effect=effect, ratio=ratio, alpha=alpha, power=power, units=larger * (1 + ratio))
        say("power", effect=effect, ratio=ratio, alpha=alpha, n=500, power=NormalIndPower().power(effect, 500, alpha, ratio=ratio))
    for effect, n in [(0.5, 10), (0.3, 60), (1.2, 5), (0.1, 4000)]:
        say("student_power", shift=effect / np.sqrt(2 / n), degrees=2 * n - 2, alpha=0.05, power=TTestIndPower().power(effect, n, 0.05))
    for information in [0.1, 0.5, 1.0]:
        say("obf", information=information, alpha=0.05, spent=2 * ss.norm.sf(ss.norm.isf(0.025) / np.sqrt(information)))


def bandits():
    mpmath.mp.dps = 20
    for arms in [[(3, 9), (5, 7)], [(100, 900), (130, 870), (90, 910)], [(0, 0), (0, 3), (2, 1)], [(20_000, 180_000), (20_400, 179_600)]]:
        chances = []
        for own in range(len(arms)):
            a, b = arms[own][0] + 1, arms[own][1] + 1

            def density(x):
                product = ss.beta.pdf(x, a, b)
                for other in range(len(arms)):
                    if other != own:
                        product *= ss.beta.cdf(x, arms[other][0] + 1, arms[other][1] + 1)
                return product

            edges = ss.beta.ppf([0, 1e-12, 1e-6, 0.01, 0.2, 0.5, 0.8, 0.99, 1 - 1e-6, 1 - 1e-12, 1], a, b)
            chances.append(sum(scipy_quad(density, low, high) for low, high in zip(edges, edges[1:])))
        say("best_beta", arms=arms, chances=chances)
    for arms in [[(0, 1), (0.5, 2)], [(1, 0.1), (1.1, 0.2), (0.9, 0.3)], [(0, 0.01), (5, 0.02)], [(1, 0.001), (1.2, 2), (0.5, 0.7)]]:
        chances = []
        for own, (mean, se) in enumerate(arms):
            def density(x):
                product = ss.norm.pdf(x, mean, se)
                for other, (m, s) in enumerate(arms):
                    if other != own:
                        product *= ss.norm.cdf(x, m, s)
                return product

            edges = sorted([m + s * k for m, s in arms for k in [-12, -6, -3, -1, 0, 1, 3, 6, 12]])
            chances.append(sum(scipy_quad(density, low, high) for low, high in zip(edges, edges[1:])))
        say("best_normal", arms=arms, chances=chances)
    steps = 400
    chance = np.clip(rng.beta(2, 2, steps), 0.05, 0.95)
    chances = np.column_stack([1 - chance, chance])
    arm = (rng.random(steps) < chance).astype(int)
    y = 5 + 0.3 * arm + rng.lognormal(0, 1, steps)
    scores = np.zeros((steps, 2))
    for w in range(2):
        seen = []
        for at in range(steps):
            m = np.mean(seen) if seen else y[0]
            scores[at, w] = m + ((y[at] - m) / chances[at, w] if arm[at] == w else 0)
            if arm[at] == w:
                seen.append(y[at])
    h = np.sqrt(chances)
    value = (h * scores).sum(axis=0) / h.sum(axis=0)
    variance = (h**2 * (scores - value) ** 2).sum(axis=0) / h.sum(axis=0) ** 2
    gaps = scores[:, 1] - scores[:, 0]
    say(
        "adaptive", arm=arm, y=y, chances=chances, value=value, variance=variance, gap=gaps.mean(),
        gap_se=np.sqrt(np.var(gaps, ddof=1) / steps),
    )


def scipy_quad(function, low, high):
    from scipy.integrate import quad

    return quad(function, low, high, epsabs=0, epsrel=1e-12, limit=200)[0]


PARTS = [tails, means, proportions, ratios, quantiles, many, factorial, designs, plans, bandits]
for part in PARTS:
    if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
        part()
