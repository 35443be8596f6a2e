import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { parseSettings, type Settings } from '#edge/config/settings.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { getPoolStub } from '#edge/plugins/pools/call-pool.ts';
import type { LeaseRequest, OutcomeCount } from '#edge/plugins/pools/contracts/pool.ts';
import { Pool } from '#edge/plugins/pools/pool.ts';
import { createTestApp, TEST_KEY } from '#test/support/app.ts';
import { bindings } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { disableAutomaticAlarms } from '#test/support/pending-work.ts';
import { createBody } from '#test/support/turns.ts';
import { createWebhookWorks, getInbox } from '#test/support/webhooks.ts';
import { told } from './lease-calls.ts';

const MINUTE = 60_000;
const NOON = Date.UTC(2026, 10, 20, 12);
const OPUS = 'claude-opus-5-5';
const HAIKU = 'claude-haiku-5-5';

const pool = () => getPoolStub(bindings, {}, 'deployment');
const alerts = async () =>
  (await getInbox('alert').listAlerts({ limit: 100 })).data
    .map(({ kind, subject }) => `${kind} ${subject ?? ''}`.trim())
    .reverse();
const settled = (requests: number, failed: number, more: Partial<OutcomeCount> = {}) => ({
  upstream: '',
  model: OPUS,
  requests,
  failed,
  rerouted: 0,
  error: failed > 0 ? 'overloaded_error' : '',
  ...more,
});

/** @returns a minute after noon, as alerts contain it */
const at = (minute: number) => `${new Date(NOON + minute * MINUTE).toISOString().slice(0, 16)}Z`;

/** Configures the upstreams `east` and `west`. @returns the spy, to change the settings */
function useTwoUpstreams() {
  const entries = ['east', 'west'].map((name) => ({
    name,
    kind: 'anthropic',
    base_url: `https://${name}.failing.test`,
  }));
  const keys = { UPSTREAM_EAST_KEY: 'key-east', UPSTREAM_WEST_KEY: 'key-west' };
  const settings = parseSettings({ ...keys, UPSTREAMS: JSON.stringify(entries) });
  return vi.spyOn(Pool.prototype as unknown as { settings(): Settings }, 'settings').mockReturnValue(settings);
}

/** Accounts that report what upstreams have answered. */
class Reports {
  #seq = 0;
  readonly #counts = new Map<string, OutcomeCount[]>();

  /** Has an account report, at a minute after noon, what has ended in this minute. @param times how often the call comes */
  async report(
    account: string,
    minute: number,
    counts: Omit<OutcomeCount, 'minute'>[],
    { times = 1, keyLimits }: Pick<LeaseRequest, 'keyLimits'> & { times?: number } = {},
  ): Promise<void> {
    const now = NOON + minute * MINUTE;
    const all = [...(this.#counts.get(account) ?? []), ...counts.map((one) => ({ ...one, minute: now / MINUTE }))];
    this.#counts.set(account, all);
    this.#seq += 1;
    const outcomes = all.filter((one) => one.minute > now / MINUTE - 10);
    const failedAt = all.some(({ failed }) => failed > 0) ? now : undefined;
    const text = JSON.stringify({ ...told(account, this.#seq, 0, now), outcomes, keyLimits, failedAt });
    await runInDurableObject(pool(), (object: Pool) => {
      (object as unknown as { now: () => number }).now = () => now;
      for (let time = 0; time < times; time += 1) object.leaseJson(text);
    });
  }
}

/** Waits until the alerts that were raised are in the list. */
async function expectAlerts(expected: readonly string[]): Promise<void> {
  await runInDurableObject(pool(), (object: Pool) => object.alarm());
  await eventually(async () => expect(await alerts()).toEqual(expected));
}

beforeEach(() => {
  disableAutomaticAlarms();
  createWebhookWorks();
});

describe('an upstream that fails', () => {
  test('raises an alert when over a fifth of at least ten requests of all accounts fail, and when it works again', async () => {
    const reports = new Reports();
    await reports.report('alice', 0, [settled(7, 1)]);
    await reports.report('bob', 0, [settled(2, 1)]);
    await expectAlerts([]);
    await reports.report('bob', 1, [settled(1, 0)]);
    await expectAlerts([]);
    await reports.report('bob', 2, [settled(2, 1)]);
    const failing = `upstream_failing 3 of 12 requests failed since ${at(0)}, the last with overloaded_error`;
    await expectAlerts([failing]);
    await reports.report('alice', 3, [settled(20, 20)]);
    await reports.report('alice', 8, [settled(20, 0)]);
    await expectAlerts([failing]);
    await reports.report('alice', 9, [settled(1, 0)]);
    const works = `upstream_works requests failed from ${at(0)} until ${at(4)}`;
    await expectAlerts([failing, works]);
    await reports.report('alice', 60, [settled(10, 3)]);
    await expectAlerts([failing, works, failing.replace('3 of 12', '3 of 10').replace(at(0), at(60))]);
  });

  test('causes one alert, although reports come twice and the objects die in between', async () => {
    const reports = new Reports();
    for (let minute = 0; minute < 10; minute += 1) {
      await reports.report('alice', minute, [settled(6, 6)], { times: 2 });
      await reports.report('bob', minute, [settled(6, 5)]);
      await abortAllDurableObjects();
    }
    await expectAlerts([`upstream_failing 11 of 12 requests failed since ${at(0)}, the last with overloaded_error`]);
  });

  test('still counts outcomes that an account reported before its object restarted', async () => {
    const reports = new Reports();
    await reports.report('alice', 0, [settled(6, 6)]);
    await runInDurableObject(pool(), (object: Pool) => {
      const outcomes = [{ ...settled(4, 0), minute: NOON / MINUTE + 1 }];
      object.leaseJson(JSON.stringify({ ...told('alice', 1, 0, NOON), incarnation: 2, outcomes }));
    });
    await expectAlerts([`upstream_failing 6 of 10 requests failed since ${at(0)}, the last with overloaded_error`]);
  });

  test('raises only one alert while a small share of requests keeps failing', async () => {
    const reports = new Reports();
    await reports.report('alice', 0, [settled(20, 10)]);
    for (let minute = 1; minute < 60; minute += 1)
      await reports.report('alice', minute, [settled(10, minute % 4 === 0 ? 4 : 1)]);
    await expectAlerts([`upstream_failing 10 of 20 requests failed since ${at(0)}, the last with overloaded_error`]);
  });

  test('causes no alert for nine failures in five minutes, or for failures that are reported half an hour late', async () => {
    const reports = new Reports();
    for (let minute = 0; minute < 30; minute += 7) await reports.report('alice', minute, [settled(9, 9)]);
    await runInDurableObject(pool(), (object: Pool) => {
      const outcomes = [{ ...settled(50, 50), minute: NOON / MINUTE }];
      object.leaseJson(JSON.stringify({ ...told('carol', 1, 0, NOON), outcomes }));
    });
    await expectAlerts([]);
  });

  test('raises an alert for one model if others work, and one for the upstream only once another model fails too', async () => {
    const reports = new Reports();
    await reports.report('alice', 0, [settled(20, 20), settled(20, 0, { model: HAIKU })]);
    const ofModel = `upstream_failing ${OPUS}: 20 of 20 requests failed since ${at(0)}, the last with overloaded_error`;
    await expectAlerts([ofModel]);
    await reports.report('alice', 9, [settled(20, 20)]);
    await expectAlerts([ofModel]);
    await reports.report('alice', 10, [settled(10, 10, { model: HAIKU })]);
    const ofAll = expect.stringMatching(/^upstream_failing 10 of 10 requests/);
    await expectAlerts([ofModel, ofAll]);
    await reports.report('alice', 25, [settled(10, 0), settled(10, 0, { model: HAIKU })]);
    await expectAlerts([ofModel, ofAll, `upstream_works requests failed from ${at(10)}`]);
  });

  test('raises one alert if the upstream fails for all models, although one model exceeds the share first', async () => {
    const reports = new Reports();
    await reports.report('alice', 0, [settled(33, 0), settled(33, 0, { model: HAIKU })]);
    await reports.report('alice', 1, [settled(9, 9), settled(8, 8, { model: HAIKU })]);
    const failing = `upstream_failing 17 of 17 requests failed since ${at(1)}, the last with overloaded_error`;
    await expectAlerts([failing]);
    await reports.report('alice', 2, [settled(20, 20), settled(20, 20, { model: HAIKU })]);
    const overview = async () => await pool().getPoolOverview({}, false);
    expect((await overview()).requests.last_failed_at).toBe(new Date(NOON + 2 * MINUTE).toISOString());
    const since = new Date(NOON + MINUTE).toISOString();
    expect((await overview()).incidents).toEqual([
      {
        kind: 'upstream_failing',
        since,
        subject: `57 of 57 requests failed since ${at(1)}, the last with overloaded_error`,
        todo: expect.stringMatching(/^The operator can /),
      },
    ]);
    await reports.report('alice', 6, [settled(20, 20), settled(20, 20, { model: HAIKU })]);
    const [incident] = (await overview()).incidents;
    expect(incident?.subject).toMatch(/^97 of 97 requests failed in the last five minutes,/);
    await reports.report('alice', 12, [settled(20, 0), settled(20, 0, { model: HAIKU })]);
    await expectAlerts([failing, `upstream_works requests failed from ${at(1)} until ${at(7)}`]);
    expect((await overview()).incidents).toEqual([]);
  });

  test('says whether other upstreams have answered the failed requests', async () => {
    const reports = new Reports();
    await reports.report('alice', 0, [settled(20, 6, { rerouted: 6, error: 'upstream_error' })]);
    await reports.report('alice', 30, [settled(20, 0)]);
    await reports.report('alice', 60, [settled(20, 6, { rerouted: 4 })]);
    await expectAlerts([
      `upstream_failing 6 of 20 requests failed since ${at(0)}, and other upstreams answered them`,
      `upstream_works requests failed from ${at(0)}`,
      `upstream_failing 6 of 20 requests failed since ${at(60)}, the last with overloaded_error, and other upstreams answered 4 of them`,
    ]);
  });

  test('names the upstream that answers, and says that no user is affected, as long as that is so', async () => {
    useTwoUpstreams();
    const reports = new Reports();
    const failed = { upstream: 'east', error: 'upstream_error' };
    await reports.report('alice', 0, [
      settled(20, 20, { ...failed, rerouted: 20 }),
      settled(20, 0, { upstream: 'west' }),
    ]);
    await expectAlerts([`upstream_failing east: 20 of 20 requests failed since ${at(0)}, and west answered them`]);
    expect((await pool().getDeploymentState()).outages).toMatchObject([{ upstream: 'east', isRerouted: true }]);
    const [incident] = (await pool().getPoolOverview({}, false)).incidents;
    expect(incident).toMatchObject({ rerouted: true, todo: expect.stringMatching(/^No user is affected\./) });
    await reports.report('alice', 2, [settled(20, 20, failed)]);
    const [later] = (await pool().getPoolOverview({}, false)).incidents;
    expect(later).not.toHaveProperty('rerouted');
    expect((await pool().getDeploymentState()).outages).toMatchObject([{ upstream: 'east', isRerouted: false }]);
    expect(later?.todo).toMatch(/^The operator can /);
  });

  test('counts from the first minute with a failure, so that the share in the alert is over a fifth', async () => {
    const reports = new Reports();
    await reports.report('alice', 0, [settled(37, 0), settled(63, 0, { model: HAIKU })]);
    await reports.report('alice', 1, [settled(12, 12), settled(12, 12, { model: HAIKU })]);
    await expectAlerts([`upstream_failing 24 of 24 requests failed since ${at(1)}, the last with overloaded_error`]);
  });

  test('raises no alert of its own for a rate limit of the key that is known to be nearly used up', async () => {
    const reports = new Reports();
    const limited = { error: 'rate_limit_error' };
    await reports.report('alice', 0, [settled(20, 20, limited)]);
    const failing = `upstream_failing 20 of 20 requests failed since ${at(0)}, the last with rate_limit_error`;
    await expectAlerts([failing]);
    const reportedAt = NOON + 20 * MINUTE;
    const limits = { output_tokens: { limit: 1_000, remaining: 10, resetsAt: reportedAt + 1_000 } };
    const keyLimits = [{ upstream: '', modelClass: 'opus', at: reportedAt, limits }];
    await reports.report('alice', 20, [settled(20, 20, limited)], { keyLimits });
    const nearly = 'key_nearly_limited opus: 10 of 1000 output tokens per minute remain';
    await expectAlerts([failing, nearly]);
    expect((await pool().getPoolOverview({}, false)).key_limits).toMatchObject([{ rejected_requests: 20 }]);
    await reports.report('alice', 31, [settled(20, 0)]);
    const works = `upstream_works requests failed from ${at(0)}`;
    await expectAlerts([failing, nearly, works]);
    await reports.report('alice', 40, [settled(20, 20, limited)]);
    await reports.report('alice', 41, [settled(20, 20), settled(20, 0, { model: HAIKU })]);
    const ofModel = `upstream_failing ${OPUS}: 20 of 20 requests failed since ${at(41)}, the last with overloaded_error`;
    await expectAlerts([failing, nearly, works, ofModel]);
  });

  test('is named in the alert if there are several, and is reported as working when it is removed', async () => {
    const settings = useTwoUpstreams();
    const reports = new Reports();
    await reports.report('alice', 0, [settled(10, 10, { upstream: 'east' }), settled(10, 0, { upstream: 'west' })]);
    const failing = `upstream_failing east: 10 of 10 requests failed since ${at(0)}, the last with overloaded_error`;
    await expectAlerts([failing]);
    settings.mockReturnValue(parseSettings({ ANTHROPIC_API_KEY: TEST_KEY }));
    await reports.report('alice', 1, [settled(1, 0)]);
    await expectAlerts([failing, `upstream_works east: requests failed from ${at(0)} until ${at(1)}`]);
  });

  test('raises no alert of its own while its key is rejected', async () => {
    await pool().recordUpstreamKeyState('401 authentication_error: invalid x-api-key');
    await new Reports().report('alice', 0, [settled(10, 10)]);
    await expectAlerts(['key_refused 401 authentication_error: invalid x-api-key']);
  });
});

test('requests that fail upstream raise an alert once their account reports them', async () => {
  let now = () =>
    Response.json({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }, { status: 529 });
  const app = createTestApp(() => now());
  for (let nth = 0; nth < 10; nth += 1) expect((await app.post('/v1/messages', createBody('Hi.'))).status).toBe(529);
  now = () =>
    Response.json({ type: 'error', error: { type: 'invalid_request_error', message: 'No.' } }, { status: 400 });
  expect((await app.post('/v1/messages', createBody('Hi.'))).status).toBe(400);
  await app.waitUntilSettled();
  await eventually(async () => {
    await runDurableObjectAlarm(getAccountStub(bindings, {}, 'dev'));
    expect(await alerts()).toEqual([
      expect.stringMatching(/^upstream_failing 10 of 11 requests failed since \S+Z, the last with overloaded_error$/),
    ]);
  });
});
