import { abortAllDurableObjects } from 'cloudflare:test';
import fc from 'fast-check';
import { expect, onTestFinished, test, vi } from 'vitest';
import { usdToNanodollars } from '#edge/claude/pricing/cost.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { readRpcText } from '#edge/conversations/object/rpc-response.ts';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import { defineWebhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import type { AgentAnswerDelivery } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { settleAt } from '#test/edge/money/account/admission-requests.ts';
import { createSkyEdge, SKY } from '#test/support/agents.ts';
import { createRouterEdge, LARGE, readLedger, SMALL } from '#test/support/chosen-models.ts';
import { listApprovals, listMessages, sendDecision, stubOf } from '#test/support/conversations.ts';
import { caseCount } from '#test/support/property-cases.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import {
  createEvent,
  createWebhookWorks,
  getInbox,
  getTestAccount,
  type WebhookWorks,
} from '#test/support/webhooks.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const URL = 'https://hooks.example.com/answers';
const VARS = createWebhookVars('github', { deliver_url: URL, agent: 'sky' });
const ACCOUNT = 'webhook-github';

interface Posted {
  id: string | null;
  body: AgentAnswerDelivery;
}

/** A receiver of answers, which is called by what `around` says. */
function receiver(around: () => Promise<void> = async () => {}) {
  const posted: Posted[] = [];
  return {
    posted,
    deliveryFetch: async (_: string, init: RequestInit) => {
      const id = new Headers(init.headers).get('webhook-id');
      posted.push({ id, body: JSON.parse(String(init.body)) as AgentAnswerDelivery });
      await around();
      return new Response(null, { status: 204 });
    },
  };
}

const accept = async (works: WebhookWorks, id: string, text = 'Is it sunny?') => {
  await getInbox('github').acceptEvent(createEvent(id, text));
  works.queue.ids.push(id);
};

/** Lets time pass until nothing is left to do for an event. */
async function untilDone(works: WebhookWorks, id: string, most = 40): Promise<void> {
  for (let n = 0; n < most; n += 1) {
    await works.consume();
    const { next_attempt_at, state } = await works.report(id);
    if (next_attempt_at === null && state !== 'accepted' && state !== 'running') return;
    await works.wakeAt('github', Math.max(works.clock.now + 1_000, Date.parse(next_attempt_at ?? '') || 0));
  }
  throw new Error(`${id} is never done: ${JSON.stringify(await works.report(id))}`);
}

test('runs the agent that an event’s source names, and delivers the result under the event’s id', async () => {
  const { version } = await createSkyEdge();
  const tools = answerTools(() => new Response('sun'));
  const { posted, deliveryFetch } = receiver();
  const works = createWebhookWorks({ deliveryFetch }, VARS);
  await accept(works, 'github_1');
  await untilDone(works, 'github_1');
  const { conversation, turn, result, ...report } = await works.report('github_1');
  expect(report).toMatchObject({ state: 'delivered', label: null, attempts: [{ error: null }] });
  expect(conversation).toMatch(/^hook_[0-9a-f]{32}$/);
  expect(posted).toEqual([
    {
      id: 'github_1',
      body: {
        type: 'webhook_event.answered',
        event_id: 'github_1',
        source: 'github',
        subject: report.subject,
        received_at: report.received_at,
        agent: 'sky',
        conversation,
        turn,
        status: 'complete',
        paused: null,
        stop_reason: 'end_turn',
        text: 'Sun.',
        error: null,
        cost_usd: expect.any(Number),
        answered_at: expect.any(String),
      },
    },
  ]);
  expect(result).toMatchObject({ text: 'Sun.' });
  expect(tools).toHaveLength(1);
  const [row] = (await getInbox('github').listEvents({ limit: 1 })).data;
  expect(row).toMatchObject({ event_id: 'github_1', conversation, turn });
  // Anybody finds it where conversations are, in the account of the source.
  const read = await stubOf(String(conversation), ACCOUNT).read();
  expect(JSON.parse(String(read.ok && read.value))).toMatchObject({ agent: { name: 'sky', version } });
  const spent = await getTestAccount(ACCOUNT).listRequests({});
  const costs = spent.data.map(({ cost_usd }) => cost_usd).reduce((sum, cost) => sum + cost, 0);
  expect(posted[0]?.body.cost_usd).toBeCloseTo(costs, 9);
  // Delivered again on demand, and never worked on again.
  await getInbox('github').replayEvent('github_1');
  await works.consume(['github_1']);
  expect(posted.map(({ id }) => id)).toEqual(['github_1', 'github_1']);
  expect((await getTestAccount(ACCOUNT).listRequests({})).data).toHaveLength(spent.data.length);
});

test('an agent with a model choice answers each event with the model that is chosen for its text', async () => {
  const { up, labels, version } = await createRouterEdge();
  const { posted, deliveryFetch } = receiver();
  const works = createWebhookWorks(
    { deliveryFetch },
    createWebhookVars('github', { deliver_url: URL, agent: 'router' }),
  );
  await accept(works, 'github_1', 'An easy one.');
  await accept(works, 'github_2', 'A hard one.');
  for (const id of ['github_1', 'github_2']) await untilDone(works, id);
  expect(posted.map(({ body }) => body.text)).toEqual(['So.', 'So.']);
  expect(up.map(({ model }) => model).toSorted()).toEqual([SMALL, LARGE].toSorted());
  expect(labels).toHaveLength(2);
  const rows = await readLedger(ACCOUNT);
  expect(rows.filter(({ route }) => route === 'choice').map(({ agent }) => agent)).toEqual([version, version]);
  expect(rows.flatMap(({ chosen_by }) => chosen_by?.label ?? []).toSorted()).toEqual(['easy', 'hard']);
});

test('a source defined in code names its agent, and receives the result in its function', async () => {
  await createSkyEdge();
  answerTools(() => new Response('sun'));
  const taken: AgentAnswerDelivery[] = [];
  const github = defineWebhook<{ text: string }>({
    source: 'github',
    verify: hmac({ header: 'x-signature' }),
    text: ({ body }) => body.text,
    agent: 'sky',
    deliver: async (answer) => void taken.push(answer),
  });
  const works = createWebhookWorks({ webhooks: [github] });
  await accept(works, 'github_1');
  await untilDone(works, 'github_1');
  expect(taken).toMatchObject([{ type: 'webhook_event.answered', event_id: 'github_1', agent: 'sky', text: 'Sun.' }]);
});

test('keeps the result if the source has no delivery URL', async () => {
  await createSkyEdge();
  answerTools(() => new Response('sun'));
  const works = createWebhookWorks({}, createWebhookVars('github', { agent: 'sky' }));
  await accept(works, 'github_1');
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'answered', result: { agent: 'sky', text: 'Sun.' } });
});

/** An event whose agent takes long: its tool answers once it is released. */
async function longEvent() {
  const held = Promise.withResolvers<void>();
  const tools = answerTools(async () => {
    await held.promise;
    return new Response('sun');
  });
  const github = defineWebhook({
    source: 'github',
    verify: hmac({ header: 'x' }),
    text: () => undefined,
    agent: 'sky',
    schedule: { classificationTimeout: 300 },
  });
  const works = createWebhookWorks({ webhooks: [github] });
  await accept(works, 'github_1');
  await works.consume();
  return { works, tools, release: held.resolve };
}

test('does not wait for a long run, and checks the event again later', async () => {
  await createSkyEdge();
  const { works, release } = await longEvent();
  const { state, conversation, next_attempt_at, attempts } = await works.report('github_1');
  expect({ state, attempts }).toEqual({ state: 'running', attempts: [] });
  expect(conversation).not.toBeNull();
  expect(Date.parse(next_attempt_at ?? '')).toBeGreaterThan(works.clock.now);
  release();
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'answered', conversation });
});

test('retries an event whose agent does not exist, and keeps an event waiting while its source’s budget is spent', async () => {
  await createSkyEdge();
  answerTools(() => new Response('sun'));
  const works = createWebhookWorks({}, createWebhookVars('github', { agent: 'nobody' }));
  await accept(works, 'github_1');
  await works.consume();
  expect(await works.report('github_1')).toMatchObject({
    state: 'accepted',
    attempts: [
      { error: { type: 'not_found_error', message: expect.stringContaining('The agent nobody does not exist') } },
    ],
  });
  const poor = createWebhookWorks({}, createWebhookVars('github', { agent: 'sky' }));
  const account = getTestAccount(ACCOUNT);
  await account.setLimits({ usd_per_day: 1 });
  await settleAt(account, {
    requestId: 'req_spent',
    status: 'complete',
    cost: usdToNanodollars(1),
    startedAt: poor.clock.now,
  });
  await accept(poor, 'github_2');
  await poor.consume();
  expect(await poor.report('github_2')).toMatchObject({
    state: 'waiting',
    attempts: [{ error: { type: 'billing_error' } }],
  });
});

test('follows a run that waits for approval until the decision, and delivers its result once', async () => {
  await createSkyEdge({ ...SKY, tools: [weatherTool({ approval: 'always' })] });
  const tools = answerTools(() => new Response('sun'));
  const { posted, deliveryFetch } = receiver();
  const works = createWebhookWorks({ deliveryFetch }, VARS);
  await accept(works, 'github_1');
  await works.consume();
  const { state, conversation, next_attempt_at } = await works.report('github_1');
  expect(state).toBe('running');
  const stub = stubOf(String(conversation), ACCOUNT);
  await works.wakeAt('github', Date.parse(next_attempt_at ?? ''));
  await works.consume();
  expect(await works.report('github_1')).toMatchObject({ state: 'running', attempts: [] });
  const open = await listApprovals(stub);
  const { data } = JSON.parse(await readRpcText((open as { value: string }).value)) as { data: { id: string }[] };
  const decision = { id: data[0]?.id, decision: 'approve', isAdmin: true, requestId: createRequestId() };
  expect(await sendDecision(stub, decision)).toMatchObject({ ok: true });
  await untilDone(works, 'github_1');
  expect(tools).toHaveLength(1);
  expect(posted).toMatchObject([{ id: 'github_1', body: { status: 'complete', paused: null, text: 'Sun.' } }]);
});

test('does not run an event again after its conversation is deleted, unless the event is replayed', async () => {
  await createSkyEdge();
  const { works, tools, release } = await longEvent();
  const { conversation } = await works.report('github_1');
  release();
  await stubOf(String(conversation), ACCOUNT).erase();
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'parked', result: null });
  expect(tools).toHaveLength(1);
  await getInbox('github').replayEvent('github_1');
  works.queue.ids.push('github_1');
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'answered', result: { text: 'Sun.' } });
});

test('retries while the upstream is down until the event is dead-lettered, and a replay starts again', async () => {
  await createSkyEdge();
  let isDown = true;
  const bodies = answerByScript(() => (isDown ? new Response('{}', { status: 529 }) : textAnswer('Sun.')));
  const works = createWebhookWorks({}, createWebhookVars('github', { agent: 'sky' }));
  await accept(works, 'github_1');
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'parked', result: null });
  const asked = bodies.length;
  isDown = false;
  await getInbox('github').replayEvent('github_1');
  works.queue.ids.push('github_1');
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'answered', result: { text: 'Sun.' } });
  expect(bodies.length).toBe(asked + 1);
});

/** An event whose agent has called its tool, and whose next step is refused while the upstream is down. */
async function stormyEvent() {
  await createSkyEdge();
  const tools = answerTools(() => new Response('sun'));
  const sky = { isDown: true };
  answerByScript(({ messages }) => {
    if (messages.length === 1) return callsAnswer(weatherCall('toolu_1', 'Bern'));
    return sky.isDown ? new Response('{}', { status: 529 }) : textAnswer('Sun.');
  });
  const { posted, deliveryFetch } = receiver();
  const works = createWebhookWorks({ deliveryFetch }, VARS);
  await accept(works, 'github_1');
  return { sky, tools, posted, works };
}

const CONTINUED = { status: 'complete', paused: null, stop_reason: 'end_turn', text: 'Sun.' };

test('a run that pauses because the upstream is overloaded continues later, without calling its tool again', async () => {
  const { sky, tools, posted, works } = await stormyEvent();
  await works.consume();
  expect(await works.report('github_1')).toMatchObject({
    state: 'accepted',
    result: null,
    conversation: expect.any(String),
    attempts: [{ error: { type: 'overloaded_error' } }],
  });
  expect(posted).toEqual([]);
  sky.isDown = false;
  await untilDone(works, 'github_1');
  expect(posted).toMatchObject([{ id: 'github_1', body: CONTINUED }]);
  const spent = await getTestAccount(ACCOUNT).listRequests({});
  const costs = spent.data.map(({ cost_usd }) => cost_usd).reduce((sum, cost) => sum + cost, 0);
  expect(posted[0]?.body.cost_usd).toBeCloseTo(costs, 9);
  expect(tools).toHaveLength(1);
});

test('dead-letters the event of a run that stays paused, and a replay continues the run', async () => {
  const { sky, tools, posted, works } = await stormyEvent();
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'parked', result: null });
  sky.isDown = false;
  await getInbox('github').replayEvent('github_1');
  works.queue.ids.push('github_1');
  await untilDone(works, 'github_1');
  expect(posted).toMatchObject([{ id: 'github_1', body: CONTINUED }]);
  expect(tools).toHaveLength(1);
});

test('a run that pauses because the budget is spent continues once the budget allows it', async () => {
  await createSkyEdge();
  const account = getTestAccount(ACCOUNT);
  await account.setLimits({ usd_per_day: 1 });
  const { works, tools, release } = await longEvent();
  // Spent while the tool is called.
  const spent = { requestId: 'req_spent', status: 'complete', cost: usdToNanodollars(1), startedAt: works.clock.now };
  await settleAt(account, spent);
  release();
  for (let n = 0; n < 20 && (await works.report('github_1')).state === 'running'; n += 1) {
    await works.wakeAt('github', Date.parse((await works.report('github_1')).next_attempt_at ?? ''));
    await works.consume();
  }
  const waits = { state: 'waiting', result: null, attempts: [{ error: { type: 'rate_limit_error' } }] };
  expect(await works.report('github_1')).toMatchObject(waits);
  // The account says until when its budget is spent.
  await works.wakeAt('github', Date.parse((await works.report('github_1')).next_attempt_at ?? ''));
  await works.consume();
  const { state, attempts } = await works.report('github_1');
  expect({ state, last: attempts.at(-1)?.error?.type }).toEqual({ state: 'waiting', last: 'billing_error' });
  await account.setLimits({ usd_per_day: 5 });
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'answered', result: CONTINUED });
  expect(tools).toHaveLength(1);
});

test('counts an earlier job’s turn that a limit ended as a failure, so that the event is not retried forever', async () => {
  await createSkyEdge();
  const error = { type: 'rate_limit_error', message: 'Try again.' };
  const turn = { turn: 'turn_1', paused: null, stop_reason: null, text: '', cost_usd: 0 };
  const spy = vi
    .spyOn(Conversation.prototype, 'readTurnOutcome')
    .mockImplementation(async (_, isAwaited) =>
      isAwaited ? { ...turn, status: 'failed', error } : { ...turn, status: 'running', error: null },
    );
  onTestFinished(() => spy.mockRestore());
  const works = createWebhookWorks({}, createWebhookVars('github', { agent: 'sky' }));
  await accept(works, 'github_1');
  await works.consume();
  expect(await works.report('github_1')).toMatchObject({ state: 'accepted', attempts: [{ error }] });
  await untilDone(works, 'github_1');
  expect(await works.report('github_1')).toMatchObject({ state: 'parked', result: null });
});

// biome-ignore lint/suspicious/noConsole: where it died is what one wants to know; what the edge logs is kept from it.
const print = console.log;

/** Where everything dies: in the agent's turn, at its tool's call, at a delivery, and between two jobs. */
const POINTS = ['asked', 'answered', 'called', 'delivered', 'between jobs'] as const;
type Point = (typeof POINTS)[number];
const EVENTS = caseCount(100);

/** Kills all objects at the points that are planned, from outside: an object cannot be aborted from inside another one. */
class Kills {
  readonly done = new Map<Point, number>(POINTS.map((point) => [point, 0]));
  #planned: { point: Point; after: number }[] = [];
  #due: PromiseWithResolvers<void> | undefined;

  plan(planned: readonly { point: Point; after: number }[]): void {
    this.#planned = planned.map((one) => ({ ...one }));
  }

  /** Waits for the kill that is planned here. What an object does there never goes on. */
  async at(point: Point, isInObject = true): Promise<void> {
    const [next] = this.#planned;
    if (next?.point !== point) return;
    next.after -= 1;
    if (next.after >= 0) return;
    this.#planned.shift();
    this.done.set(point, (this.done.get(point) ?? 0) + 1);
    const due = Promise.withResolvers<void>();
    this.#due = due;
    await (isInObject ? new Promise(() => {}) : due.promise);
  }

  async during<T>(work: Promise<T>): Promise<T> {
    let hasEnded = false;
    const ended = work.finally(() => {
      hasEnded = true;
    });
    ended.catch(() => {});
    while (!hasEnded) {
      // No promise of an object that dies wakes anybody.
      await yieldToEventLoop();
      const due = this.#due;
      if (!due) continue;
      this.#due = undefined;
      await abortAllDurableObjects();
      due.resolve();
    }
    return await ended;
  }
}

test(`delivers ${EVENTS} of ${EVENTS} events under one id each, and runs each once, while objects are killed; half of them wait for approval`, async () => {
  await createSkyEdge({ ...SKY, tools: [weatherTool(), weatherTool({ approval: 'always', once: true }, 'pay')] });
  const kills = new Kills();
  const { posted, deliveryFetch } = receiver(() => kills.at('delivered', false));
  const works = createWebhookWorks({ deliveryFetch }, VARS);
  await getTestAccount(ACCOUNT).setLimits({ usd_per_day: 1_000 });
  let waits = false;
  const made = answerTools(async () => {
    await kills.at('called');
    return new Response('sun');
  });
  const asking = () => callsAnswer(weatherCall('toolu_1', 'Bern', waits ? 'pay' : 'get_weather'));
  answerByScript(({ messages }) => (messages.length === 1 ? asking() : textAnswer('Sun.')), {
    before: () => kills.at('asked'),
    after: () => kills.at('answered'),
  });
  const plans = fc.array(fc.record({ point: fc.constantFrom(...POINTS), after: fc.nat(1) }), {
    minLength: 1,
    maxLength: 3,
  });
  const statuses: Record<string, number> = {};
  const told = { events: EVENTS, delivered: 0, ids: 0, approved: 0 };
  for (let n = 0; n < EVENTS; n += 1) {
    const id = `github_k${n}`;
    waits = n % 2 === 1;
    let isApproved = false;
    kills.plan(fc.sample(plans, { numRuns: 1, seed: n })[0] ?? []);
    await accept(works, id);
    for (let tries = 0; tries < 30; tries += 1) {
      works.queue.ids.push(...(await kills.during(works.consume())));
      await kills.during(kills.at('between jobs', false));
      const { state, conversation } = await works.report(id);
      if (state === 'delivered') break;
      if (state === 'running' && conversation !== null) {
        isApproved = (await kills.during(approveIn(conversation))) || isApproved;
      }
      await works.wakeAt('github', works.clock.now + 10 * 60_000);
    }
    const { state, conversation, turn, result } = await works.report(id);
    const delivered = posted.filter(({ body }) => body.event_id === id);
    expect({ id, state, ids: [...new Set(delivered.map((one) => one.id))] }).toEqual({
      id,
      state: 'delivered',
      ids: [id],
    });
    told.delivered += 1;
    told.ids += new Set(delivered.map((one) => one.id)).size;
    if (isApproved) told.approved += 1;
    // The agent's answer is that of the turn which has gone on, where it has waited.
    for (const { body } of delivered) expect(body).toMatchObject({ conversation, turn, paused: null });
    const paid = made.filter(({ body }) => body.conversation === conversation && body.name === 'pay');
    expect(paid.length).toBeLessThanOrEqual(isApproved ? 1 : 0);
    const status = result && 'agent' in result ? result.status : 'none';
    statuses[status] = (statuses[status] ?? 0) + 1;
    const asked = (await listMessages(String(conversation), ACCOUNT)).filter(({ role }) => role === 'user');
    expect(asked.filter(({ content }) => JSON.stringify(content).includes('Is it sunny?'))).toHaveLength(1);
  }
  print({ ...told, kills: Object.fromEntries(kills.done), statuses });
  expect(told).toMatchObject({ delivered: EVENTS, ids: EVENTS });
  expect(told.approved).toBeGreaterThan(EVENTS / 4);
  expect([...kills.done.values()].every((count) => count > 0)).toBe(true);
});

/** Approves what waits in a conversation. @returns whether anything did; false where its object died meanwhile */
async function approveIn(conversation: string): Promise<boolean> {
  try {
    const open = await listApprovals(stubOf(conversation, ACCOUNT));
    if (!open.ok) return false;
    const { data } = JSON.parse(await readRpcText(open.value as string)) as { data: { id: string }[] };
    for (const { id } of data) {
      const decision = { id, decision: 'approve', isAdmin: true, requestId: createRequestId() } as const;
      if (!(await sendDecision(stubOf(conversation, ACCOUNT), decision)).ok) return false;
    }
    return data.length > 0;
  } catch {
    return false;
  }
}
