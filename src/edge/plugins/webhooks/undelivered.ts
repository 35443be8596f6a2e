/** Counts webhook events and alerts that could not be delivered. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { ObjectUnreachableError } from '../../durable/call-object.ts';
import type { OverviewResponse } from '../../health/overview-answers.schema.ts';
import type { MetricFamily } from '../../health/plugin-hooks.ts';
import { toIsoTimeOrNull } from '../../kit/http/times.ts';
import { ALERT_SOURCE } from '../../money/alerts/alert-source.ts';
import { callInbox } from './inbox/call-inbox.ts';
import { sourcesOf } from './source-settings.ts';

interface UndeliveredCounts {
  undelivered_events: NonNullable<OverviewResponse['undelivered_events']>;
  undelivered_alerts: number;
}

/** Reads the counts from the inbox of each enabled source, which can be 0, and from that of alerts. */
async function readUndeliveredCounts(c: Context<AppEnv>): Promise<UndeliveredCounts> {
  const settings = c.get('settings');
  const readUndeliveredOfSource = (source: string) =>
    callInbox({ inboxes: c.env, settings, source }, (inbox) => inbox.readUndelivered());
  const open = [...sourcesOf(settings).values()].filter(({ secrets }) => secrets.length > 0);
  const [alerts, ...events] = await Promise.all([
    readUndeliveredOfSource(ALERT_SOURCE),
    ...open.map(async ({ source }) => {
      const { events, failingSince } = await readUndeliveredOfSource(source);
      return { source, events, failing_since: toIsoTimeOrNull(failingSince) };
    }),
  ]);
  return { undelivered_events: events, undelivered_alerts: alerts.events };
}

/** Returns the same counts for the overview, without sources that have none. */
export async function readUndeliveredProblems(c: Context<AppEnv>): Promise<UndeliveredCounts> {
  const counts = await readUndeliveredCounts(c);
  return { ...counts, undelivered_events: counts.undelivered_events.filter(({ events }) => events > 0) };
}

/** Returns the same counts as metrics, each source's even if it is 0; none if an inbox cannot be reached. */
export async function createUndeliveredMetrics(c: Context<AppEnv>): Promise<MetricFamily[]> {
  try {
    const { undelivered_events, undelivered_alerts } = await readUndeliveredCounts(c);
    return [
      {
        name: 'sluice_undelivered_events',
        type: 'gauge',
        help: 'Webhook events that failed at least once, by source. They are retried, or parked.',
        samples: undelivered_events.map(({ source, events }) => ({ labels: { source }, value: events })),
      },
      {
        name: 'sluice_undelivered_alerts',
        type: 'gauge',
        help: 'The number of alerts that could not be delivered.',
        samples: [{ value: undelivered_alerts }],
      },
    ];
  } catch (thrown) {
    if (!(thrown instanceof ObjectUnreachableError)) throw thrown;
    c.get('entry').line.error_type = thrown.logged;
    return [];
  }
}
