/** Builds metrics from the counts of the isolate that responds. */

import type { UpstreamPool } from '../../claude/upstreams/pool.ts';
import type { MetricFamily, MetricSample } from '../../health/plugin-hooks.ts';
import { type IsolateCounters, isolateCounts, type LabelledCounter } from '../../kit/http/isolate-counts.ts';

const OF_ISOLATE = 'Of this isolate alone, since its start.';
const STATES = { closed: 0, half_open: 1, open: 2 } as const;

/** @param pool the upstreams, if there are several. Only of these is known which are left alone */
export function createIsolateMetricFamilies(
  pool: Pick<UpstreamPool, 'all' | 'health' | 'models'> | undefined,
  now: number,
  counts: IsolateCounters = isolateCounts,
): MetricFamily[] {
  const {
    isolateInfo: begun,
    requests,
    errors,
    rejections: refusals,
    retries,
    pendingAdmissionCount: waiting,
    admissions,
    admissionMs,
  } = counts;
  const createMetricFamily = (
    name: string,
    type: MetricFamily['type'],
    help: string,
    samples: readonly MetricSample[],
  ): MetricFamily => ({
    name: `sluice_isolate_${name}`,
    type,
    help: `${help} ${OF_ISOLATE}`,
    samples: samples.map((sample) => ({ ...sample, labels: { isolate: begun.id, ...sample.labels } })),
  });
  const createCounterFamily = (name: string, help: string, label: string, { counts }: LabelledCounter) =>
    createMetricFamily(
      name,
      'counter',
      help,
      [...counts].map(([value, count]) => ({ suffix: '_total', labels: { [label]: value }, value: count })),
    );
  const ofUpstreams = (pool?.all ?? []).map(({ name }) => ({
    labels: { upstream: name },
    value: pool?.health.countRunning(name, now) ?? 0,
  }));
  // Report only models of the model table: callers can send any name, and each name would create another time series.
  const breakers = (pool?.health.reportUpstreamHealth(now) ?? [])
    .filter(({ model }) => pool?.models.findRow(model) !== undefined)
    .map(({ upstream, model, state }) => ({ labels: { upstream, model }, value: STATES[state] }));
  return [
    createMetricFamily('start_time_seconds', 'gauge', 'When its first request came.', [{ value: begun.at / 1_000 }]),
    createCounterFamily('requests', 'Requests by the status of their answer, this one not yet.', 'status', requests),
    createCounterFamily('errors', 'Answers with an error, by the error_type of the log.', 'type', errors),
    createCounterFamily(
      'refusals',
      'Requests that a limit has refused, by whose limit it was.',
      'limited_by',
      refusals,
    ),
    createMetricFamily('retries', 'counter', 'Tries beyond the first of a request.', [
      { suffix: '_total', value: retries },
    ]),
    createMetricFamily('waiting_requests', 'gauge', 'Requests that wait for their admission.', [{ value: waiting }]),
    createMetricFamily('admission_seconds', 'summary', 'Waits for admission that are over.', [
      { suffix: '_count', value: admissions },
      { suffix: '_sum', value: admissionMs / 1_000 },
    ]),
    createMetricFamily(
      'upstream_running_requests',
      'gauge',
      'Requests that run at each of several upstreams.',
      ofUpstreams,
    ),
    createMetricFamily(
      'breaker_state',
      'gauge',
      'Of each of several upstreams: 0 called, 1 tried again, 2 left alone.',
      breakers,
    ),
  ];
}
