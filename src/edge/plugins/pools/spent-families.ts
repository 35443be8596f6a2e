/** Builds metrics from the spending that all accounts have reported. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { usdToNanodollars } from '../../claude/pricing/cost.ts';
import { FIRST_EVENT_BOUNDS_MS, WAIT_BOUNDS_MS } from '../../claude/pricing/usage-sums.ts';
import type { UpstreamPool } from '../../claude/upstreams/pool.ts';
import { ObjectUnreachableError } from '../../durable/call-object.ts';
import type { MetricFamily, MetricSample } from '../../health/plugin-hooks.ts';
import { OTHER_LABEL } from '../../kit/http/isolate-counts.ts';
import type { UsageReport } from '../../money/account/usage-answers.schema.ts';
import { formatUsd } from '../../money/admission/limit-headers.ts';
import { findCalendarWindowAt, formatCalendarWindowId } from '../../money/budget/windows.ts';
import type { DeploymentState, KeyLimitReport } from './contracts/pool.ts';
import { createDeploymentPoolCaller, readFirstGroups } from './pools.route.ts';
import type { PoolQuotaReport } from './pools-answers.schema.ts';

type UsageReportTotals = UsageReport['total'];

const OF_ALL = 'The requests of all accounts on the current day (UTC), updated within a minute.';

/** The most groups whose budgets are reported: each costs a call of its pool. */
const MAX_GROUPS = 100;
/** The kinds of tokens that are counted separately. Thinking tokens are included in the output. */
const TOKEN_KINDS: readonly (readonly [kind: string, of: keyof UsageReportTotals['usage']])[] = [
  ['input', 'input_tokens'],
  ['output', 'output_tokens'],
  ['cache_read', 'cache_read_input_tokens'],
  ['cache_write_5m', 'cache_write_5m_input_tokens'],
  ['cache_write_1h', 'cache_write_1h_input_tokens'],
];

/** Each counter: its name, its description, its number in a sum, and how the number is formatted. */
const COUNTERS: readonly (readonly [
  name: string,
  help: string,
  of: (sums: UsageReportTotals) => number,
  write?: (number: number) => number | string,
])[] = [
  ['requests', 'Requests in the ledgers: each try that was admitted and has ended.', ({ requests }) => requests],
  ['failed_requests', 'Those of them with an error_type in the ledgers.', ({ failed }) => failed],
  ['cost_usd', 'What they have cost, to the nanodollar.', ({ cost_usd }) => usdToNanodollars(cost_usd), formatUsd],
  ['thinking_tokens', 'Output tokens that were thinking.', ({ usage }) => usage.thinking_tokens],
  ['web_searches', 'Web searches that the API has made.', ({ usage }) => usage.web_search_requests],
  ['streamed_tokens', 'Output tokens of streams that ended.', ({ speed }) => speed.streamed_tokens],
  ['streamed_seconds', 'From their first event to their end.', ({ speed }) => speed.streamed_ms, msToSeconds],
];

/** The times of requests: how many, their sum, and how many are within each bound. */
interface HistogramSums {
  count: number;
  ms: number;
  withinMs: Readonly<Record<string, number>>;
}

/**
 * @param prefix begins the names
 * @param label the name of the label by which the rows are summed
 * @param labelOf the values that keep their names. All others share one, so that callers cannot create more time series
 * @returns counters, and histograms of the times to the first event and of the times before requests were sent
 */
function createSpendingMetricFamilies(
  prefix: string,
  label: string,
  { data }: UsageReport,
  labelOf: (key: string) => string | undefined,
): MetricFamily[] {
  const rows = Map.groupBy(data, ({ key }) => (key === null ? '(none)' : (labelOf(key) ?? OTHER_LABEL)));
  const createLabelledFamily = (
    name: string,
    type: MetricFamily['type'],
    help: string,
    samplesOf: (sum: (of: (sums: UsageReportTotals) => number) => number) => readonly MetricSample[],
  ): MetricFamily => ({
    name: prefix + name,
    type,
    help: `${help} ${OF_ALL}`,
    samples: [...rows].flatMap(([value, parts]) =>
      samplesOf((of) => parts.reduce((all, one) => all + of(one), 0)).map((sample) => ({
        ...sample,
        labels: { [label]: value, ...sample.labels },
      })),
    ),
  });
  const createHistogramFamily = (
    name: string,
    help: string,
    bounds: readonly number[],
    read: (speed: UsageReportTotals['speed']) => HistogramSums,
  ): MetricFamily =>
    createLabelledFamily(name, 'histogram', help, (sum) => {
      const createHistogramBucket = (le: string, value: number) => ({ suffix: '_bucket', labels: { le }, value });
      const total = sum(({ speed }) => read(speed).count);
      return [
        ...bounds.map((ms) =>
          createHistogramBucket(
            ms % 1_000 === 0 ? msToSeconds(ms).toFixed(1) : String(msToSeconds(ms)),
            sum(({ speed }) => read(speed).withinMs[ms] ?? 0),
          ),
        ),
        createHistogramBucket('+Inf', total),
        { suffix: '_count', value: total },
        { suffix: '_sum', value: msToSeconds(sum(({ speed }) => read(speed).ms)) },
      ];
    });
  return [
    ...COUNTERS.map(([name, help, of, write = Number]) =>
      createLabelledFamily(name, 'counter', help, (sum) => [{ suffix: '_total', value: write(sum(of)) }]),
    ),
    createLabelledFamily('tokens', 'counter', 'Tokens by kind.', (sum) =>
      TOKEN_KINDS.map(([kind, of]) => ({ suffix: '_total', labels: { kind }, value: sum(({ usage }) => usage[of]) })),
    ),
    createHistogramFamily(
      'time_to_first_event_seconds',
      'Until the first event of streams.',
      FIRST_EVENT_BOUNDS_MS,
      ({ timed_requests, ttft_ms, ttft_within_ms }) => ({
        count: timed_requests,
        ms: ttft_ms,
        withinMs: ttft_within_ms,
      }),
    ),
    createHistogramFamily(
      'wait_seconds',
      'Time that requests waited for their accounts and budgets before they were sent.',
      WAIT_BOUNDS_MS,
      ({ waited_requests, waited_ms, waited_within_ms }) => ({
        count: waited_requests,
        ms: waited_ms,
        withinMs: waited_within_ms,
      }),
    ),
  ];
}

function msToSeconds(ms: number): number {
  return ms / 1_000;
}

/** The status of one shared budget, and the labels that identify it. */
interface LabelledQuotaReport {
  labels: Readonly<Record<string, string>>;
  standing: Omit<PoolQuotaReport, 'limits'>;
}

/** @returns the held, spent and allowed amounts of shared budgets. @param of the kind of budgets */
function createBudgetMetricFamilies(
  prefix: string,
  of: string,
  reports: readonly LabelledQuotaReport[],
): MetricFamily[] {
  const windows = reports.flatMap(({ labels, standing }) =>
    (['hour', 'day', 'week', 'month', 'total'] as const).map((window) => ({
      labels: { ...labels, window },
      ...standing[window],
    })),
  );
  const createBudgetGauge = (
    name: string,
    help: string,
    getAmount: (one: (typeof windows)[number]) => number | null,
  ): MetricFamily => ({
    name: prefix + name,
    type: 'gauge',
    help: `${help} ${of}, updated within a minute.`,
    samples: windows.flatMap((one) => {
      const value = getAmount(one);
      return value === null ? [] : { labels: one.labels, value: formatUsd(usdToNanodollars(value)) };
    }),
  });
  return [
    createBudgetGauge('spent_usd', 'Settled in the window.', ({ spent_usd }) => spent_usd),
    createBudgetGauge(
      'held_usd',
      'Held for requests that run, or leased for the next.',
      ({ leased_usd }) => leased_usd,
    ),
    createBudgetGauge('limit_usd', 'The limit of the window, if there is one.', ({ limit_usd }) => limit_usd),
  ];
}

/** @returns how much is left of the rate limits of the deployment's keys */
function createKeyLimitMetricFamilies(limits: readonly KeyLimitReport[]): MetricFamily[] {
  const createKeyGauge = (name: string, help: string, of: (one: KeyLimitReport) => number): MetricFamily => ({
    name,
    type: 'gauge',
    help: `${help} As the upstream reported it in the last five minutes.`,
    samples: limits.map((one) => {
      const { upstream, model_class, kind } = one;
      return { labels: { upstream, model_class, kind }, value: of(one) };
    }),
  });
  return [
    createKeyGauge('sluice_key_limit', 'A rate limit of the deployment’s key, per minute.', ({ limit }) => limit),
    createKeyGauge('sluice_key_limit_remaining', 'How much of it is left.', ({ remaining }) => remaining),
    createKeyGauge('sluice_key_limit_reset_timestamp_seconds', 'When it is full again.', ({ resets_at }) =>
      msToSeconds(Date.parse(resets_at)),
    ),
  ];
}

/** @returns which upstreams refuse the key, and which upstreams and models fail */
function createUpstreamStateFamilies(
  { rejecting_upstreams, outages }: DeploymentState,
  names: readonly string[],
): MetricFamily[] {
  return [
    {
      name: 'sluice_key_rejected',
      type: 'gauge',
      help: 'Whether an upstream rejects the deployment because of its key, its organization or its spend limit.',
      samples: names.map((upstream) => ({
        labels: { upstream },
        value: Number(rejecting_upstreams.includes(upstream)),
      })),
    },
    {
      name: 'sluice_upstream_failing',
      type: 'gauge',
      help: 'An upstream, or one of its models, whose requests fail, as in the alert upstream_failing. With rerouted="true", other upstreams answer them.',
      samples: outages.map(({ upstream, model, isRerouted }) => ({
        labels: { upstream, model, rerouted: String(isRerouted) },
        value: 1,
      })),
    },
  ];
}

/** @returns how many requests limits have rejected today */
function createRejectionMetricFamily(rejections: DeploymentState['rejections']): MetricFamily {
  return {
    name: 'sluice_rejected_requests',
    type: 'counter',
    help: `Requests that a limit has rejected, by the limit's owner and the reason. ${OF_ALL}`,
    samples: rejections.map(({ limited_by, reason, requests }) => ({
      suffix: '_total',
      labels: { limited_by, reason },
      value: requests,
    })),
  };
}

/** @returns how often background work has failed */
function createTaskFailureMetricFamily(failures: readonly { task: string; failures: number }[]): MetricFamily {
  return {
    name: 'sluice_task_failures',
    type: 'counter',
    help: 'Failures of background work that has failed for at least ten minutes, by task. Objects report them once an hour.',
    samples: failures.map(({ task, failures }) => ({ suffix: '_total', labels: { task }, value: failures })),
  };
}

/** Reads the sums of the deployment's pool with at most five calls, and those of groups with one call each. */
export async function readDeploymentMetricFamilies(
  c: Context<AppEnv>,
  upstreams: UpstreamPool | undefined,
): Promise<MetricFamily[]> {
  const { models } = c.get('settings');
  const from = formatCalendarWindowId('day', findCalendarWindowAt('day', Date.now()).start);
  const call = createDeploymentPoolCaller(c);
  const createAllFamilies = async (): Promise<MetricFamily[]> => {
    const [byModel, byUpstream, standing, failures, state, groups] = await Promise.all([
      call((object) => object.getSharedUsage({ from, group_by: 'model' })),
      upstreams && call((object) => object.getSharedUsage({ from, group_by: 'upstream' })),
      call((object) => object.getPoolQuotaReport()),
      call((object) => object.listTaskFailures()),
      call((object) => object.getDeploymentState()),
      readFirstGroups(c, MAX_GROUPS),
    ]);
    const names: readonly string[] = upstreams?.all.map(({ name }) => name) ?? [''];
    const ofGroups = groups.map(({ id, ...standing }) => ({ labels: { group: id }, standing }));
    return [
      ...createSpendingMetricFamilies('sluice_', 'model', byModel, (name) => models.findRow(name)?.id),
      ...(byUpstream
        ? createSpendingMetricFamilies('sluice_upstream_', 'upstream', byUpstream, (name) =>
            names.includes(name) ? name : undefined,
          )
        : []),
      ...createBudgetMetricFamilies('sluice_budget_', 'Of all accounts', [{ labels: {}, standing }]),
      ...createBudgetMetricFamilies('sluice_group_budget_', `Of the first ${MAX_GROUPS} groups`, ofGroups),
      createRejectionMetricFamily(state.rejections),
      ...createUpstreamStateFamilies(state, names),
      createTaskFailureMetricFamily(failures),
      ...createKeyLimitMetricFamilies(state.key_limits),
    ];
  };
  // Report the metrics of this isolate even if the pool cannot be reached: that is when an operator needs them.
  const families = await createAllFamilies().catch((thrown: unknown) => {
    if (!(thrown instanceof ObjectUnreachableError)) throw thrown;
    c.get('entry').line.error_type = thrown.logged;
    return [];
  });
  const help = 'Whether the pool, to which all accounts tell what they spend, has answered this request.';
  const up = {
    name: 'sluice_pool_up',
    type: 'gauge' as const,
    help,
    samples: [{ value: Number(families.length > 0) }],
  };
  return [up, ...families];
}
