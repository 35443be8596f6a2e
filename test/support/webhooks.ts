import { createMessageBatch, getQueueResult, runDurableObjectAlarm } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { onTestFinished, vi } from 'vitest';
import type { RemoteMethods } from '#edge/durable/call-object.ts';
import { getAccountStub, getInboxStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account } from '#edge/money/account/account.ts';
import { Inbox } from '#edge/plugins/webhooks/inbox/inbox.ts';
import { type ConsumerOptions, createConsumer } from '#edge/plugins/webhooks/webhook-job.ts';
import type { EventReport } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { createTrackedContext } from './pending-work.ts';
import { createSimulatedUpstream } from './prefixes.ts';
import { SECRET } from './tokens.ts';

const bindings = env as unknown as Bindings;

export const WEBHOOK_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

/** The protected methods of the objects that a test may replace: they are the same for every instance. */
interface ProtectedMethods {
  now(): number;
  enqueue(ids: readonly string[]): Promise<void>;
}

export const getInbox = (source: string) => getInboxStub(bindings, {}, source) as unknown as RemoteMethods<Inbox>;
export const getTestAccount = (name: string) => getAccountStub(bindings, {}, name) as unknown as RemoteMethods<Account>;

/** A queue that delivers when the test says so. */
interface TestQueue {
  ids: string[];
  send(id: string): Promise<void>;
}

/** An edge's webhooks from the queue on, with a clock that the test moves. */
export interface WebhookWorks {
  queue: TestQueue;
  clock: { now: number };
  /** Requests that have reached the upstream to be answered. */
  upstream: { requests: number; answer: ((request: Request) => Response | undefined) | undefined };
  env: Bindings;
  /** The lines that runs have left. */
  log: Record<string, unknown>[];
  /** Works on what is on the queue, or on these messages. @returns ids whose messages are to come again */
  consume(ids?: readonly string[]): Promise<string[]>;
  /** Lets the alarm come at this time. */
  wakeAt(source: string, time: number): Promise<void>;
  report(id: string): Promise<EventReport>;
}

/** @param vars settings besides those of a deployed edge */
export function createWebhookWorks(options: ConsumerOptions = {}, vars: Record<string, string> = {}): WebhookWorks {
  const clock = { now: Date.now() };
  const queue: TestQueue = {
    ids: [],
    send: async (id) => {
      queue.ids.push(id);
    },
  };
  const upstream: WebhookWorks['upstream'] = { requests: 0, answer: undefined };
  const log: Record<string, unknown>[] = [];
  const simulate = createSimulatedUpstream(clock);
  const spies = [
    vi.spyOn(Inbox.prototype as unknown as ProtectedMethods, 'now').mockImplementation(() => clock.now),
    vi.spyOn(Account.prototype as unknown as ProtectedMethods, 'now').mockImplementation(() => clock.now),
    vi.spyOn(Inbox.prototype as unknown as ProtectedMethods, 'enqueue').mockImplementation(async (ids) => {
      queue.ids.push(...ids);
    }),
    vi.spyOn(globalThis.console, 'log').mockImplementation((line: string) => {
      log.push(JSON.parse(line) as Record<string, unknown>);
    }),
  ];
  onTestFinished(() => {
    for (const spy of spies) spy.mockRestore();
  });
  const strings = Object.entries(env).filter(([, value]) => typeof value === 'string');
  const bound = {
    ...bindings,
    ...Object.fromEntries(strings.map(([name]) => [name, ''])),
    SIGNING_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'sk-ant-test',
    UPSTREAM_MAX_RETRIES: '0',
    DELIVERY_SIGNING_SECRET: WEBHOOK_SECRET,
    QUEUE: queue as unknown as Queue<string>,
    ...vars,
  };
  const consumer = createConsumer({
    fetch: async (url, init) => {
      upstream.requests += 1;
      const request = new Request(url, init);
      return upstream.answer?.(request) ?? (await simulate(request));
    },
    ...options,
  });
  return {
    queue,
    clock,
    upstream,
    env: bound,
    log,
    consume: async (ids = queue.ids.splice(0)) => {
      const messages = ids.map((id, at) => ({ id: `m${at}`, timestamp: new Date(), attempts: 1, body: id }));
      const batch = createMessageBatch<string>('sluice-webhooks', messages);
      const ctx = createTrackedContext('a batch of the queue');
      await consumer(batch, bound, ctx);
      const { retryMessages } = await getQueueResult(batch, ctx);
      return retryMessages.map(({ msgId }) => ids[Number(msgId.slice(1))] ?? '');
    },
    wakeAt: async (source, time) => {
      clock.now = time;
      await runDurableObjectAlarm(getInboxStub(bindings, {}, source) as unknown as DurableObjectStub);
    },
    report: async (id) => {
      const report = await getInbox(id.split('_')[0] ?? '').readEvent(id);
      if (!report) throw new Error(`no event ${id}`);
      return report;
    },
  };
}

/** An event as it comes out of a request. */
export const createEvent = (
  id: string,
  text: string | null = 'It crashes: this is a bug',
  account = 'webhook-github',
) => ({
  id,
  account,
  text,
  subject: 'https://example.com/1',
  digest: `sha256:${'0'.repeat(64)}`,
});

/** A classification as it is recorded. */
export const createClassification = (label: string) => ({
  label,
  cached: false,
  model: 'claude-haiku-5-5',
  classifier: null,
  usage: { input_tokens: 1, output_tokens: 1, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
  cost_usd: 0.000001,
  classified_at: '2026-11-20T12:00:00.000Z',
});
