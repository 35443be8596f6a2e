import { runInDurableObject } from 'cloudflare:test';
import { describe, expect, test, vi } from 'vitest';
import { parseSettings } from '#edge/config/settings.ts';
import type { Conversation } from '#edge/conversations/object/conversation.ts';
import { getAccountStub, getInboxStub } from '#edge/durable/stubs.ts';
import type { Account } from '#edge/money/account/account.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { admitAt, settleAt, worstCaseWith } from '#test/edge/money/account/admission-requests.ts';
import { bindings, installSimulator, stubOf } from '#test/support/conversations.ts';
import { createBody, runTurn } from '#test/support/turns.ts';
import { createEvent, getInbox } from '#test/support/webhooks.ts';

const DAY = 86_400_000;

/** What stands in the deployment's settings. */
const SETTINGS: Record<string, string>[] = [
  {},
  { RETENTION_DAYS: '' },
  { RETENTION_DAYS: '7' },
  { RETENTION_DAYS: '0' },
  { RETENTION_DAYS: ' ' },
  { RETENTION_DAYS: '-1' },
  { RETENTION_DAYS: 'never' },
  { RETENTION_DAYS: '1e9' },
  { RETENTION_DAYS: '7', UPSTREAM: 'simulator' },
  { RETENTION_DAYS: '7', MAX_BODY_BYTES: 'much' },
];

/** Days by the app's own reading; undefined where it refuses to work. */
function daysOf(settings: Record<string, string>): number | undefined {
  try {
    return parseSettings(settings).RETENTION_DAYS;
  } catch {
    return undefined;
  }
}

/** Looks just before and just after what the app reads as the end; where it reads none, decades later. */
const looks = (settings: Record<string, string>): { after: number; kept: boolean }[] => {
  const days = daysOf(settings);
  if (days === undefined) return [{ after: 30_000 * DAY, kept: true }];
  return [
    { after: days * DAY - 60_000, kept: true },
    { after: days * DAY + 60_000, kept: false },
  ];
};

interface Inside {
  env: Record<string, unknown>;
  now(): number;
  alarm(): Promise<void>;
}

/** Has an object's alarm come at a time, under these settings. @returns when it is to come again */
async function wake(
  stub: DurableObjectStub<Account> | DurableObjectStub<Inbox> | DurableObjectStub<Conversation>,
  settings: Record<string, string>,
  now: number,
): Promise<number | null> {
  return await runInDurableObject(stub as DurableObjectStub<Account>, async (object, { storage }) => {
    const inside = object as unknown as Inside;
    const names = Object.entries(inside.env).filter(([, value]) => typeof value !== 'string');
    inside.env = { ...Object.fromEntries(names), ...settings };
    inside.now = () => now;
    // Far away, so that it does not come by itself; the one that the object sets is looked at.
    await inside.alarm();
    const next = await storage.getAlarm();
    await storage.deleteAlarm();
    return next;
  });
}

describe.each(SETTINGS)('with the settings %o', (settings) => {
  test.each(looks(settings))('a ledger row is kept $after ms after it was written: $kept', async ({ after, kept }) => {
    const stub = getAccountStub(bindings, {}, 'alice');
    await admitAt(stub, {
      requestId: 'req_1',
      route: 'messages',
      model: 'claude-opus-5-5',
      maximumCost: worstCaseWith(),
    });
    await settleAt(stub, { requestId: 'req_1', status: 'complete', cost: 5, tokens: { input: 1, output: 1 } });
    const next = await wake(stub, settings, Date.now() + after);
    expect((await stub.listRequests({})).data).toHaveLength(kept ? 1 : 0);
    if (kept) expect(next).not.toBeNull();
  });

  test.each(looks(settings))(
    'a webhook event is kept $after ms after it was parked: $kept',
    async ({ after, kept }) => {
      vi.spyOn(Inbox.prototype as unknown as { enqueue(): Promise<void> }, 'enqueue').mockResolvedValue();
      const inbox = getInbox('github');
      await inbox.acceptEvent(createEvent('github_1'));
      const work = await inbox.leaseEvent('github_1', 1_000);
      if (work.kind === 'none') throw new Error('nothing to do');
      const attempt = { at: new Date().toISOString(), ms: 5, error: null };
      await inbox.recordJobEnd('github_1', { lease: work.lease, attempt, to: { state: 'parked' } });
      const next = await wake(getInboxStub(bindings, {}, 'github'), settings, Date.now() + after);
      expect((await inbox.readEvent('github_1')) !== undefined).toBe(kept);
      if (kept) expect(next).not.toBeNull();
    },
  );

  test.each(looks(settings))('a conversation is kept $after ms after its last turn: $kept', async ({ after, kept }) => {
    installSimulator();
    await runTurn(createBody('Hello'));
    vi.restoreAllMocks();
    const next = await wake(stubOf(), settings, Date.now() + after);
    expect((await stubOf().read()).ok).toBe(kept);
    if (kept) expect(next).not.toBeNull();
  });
});
