import { expect, onTestFinished, test, vi } from 'vitest';
import { stubOf } from '#test/support/conversations.ts';
import { eventually, waitForCondition } from '#test/support/eventually.ts';
import {
  createConversationWith,
  createErrorResponse,
  createLongText,
  installSimulatorUnless,
  isSummaryRequest,
  questionBody,
  readBooked,
  readSummaries,
  type UpstreamBody,
} from '#test/support/summaries.ts';
import { sendTurn } from '#test/support/turns.ts';

const [PING_MS, MOST_MS] = [15_000, 20_000];
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

/** A conversation whose summary does not come before it may, by a clock that is the test's own. */
async function slow(answering: (body: UpstreamBody) => Response | undefined = () => undefined) {
  const state = { isGoing: false, isLate: false, pings: 0 };
  const { setTimeout: wait } = globalThis;
  // Whoever waits looks by itself: a promise of the test must not wake another object.
  const late = (run: () => void): unknown => wait(() => (state.isLate ? run() : late(run)), 1);
  const spy = vi.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void, ms?: number) => {
    if (ms === MOST_MS) return late(run);
    if (ms !== PING_MS) return wait(run, ms);
    state.pings += 1;
    return wait(run, state.pings > 3 ? ms : 0);
  }) as typeof setTimeout);
  onTestFinished(() => {
    Object.assign(state, { isGoing: true, isLate: true });
    spy.mockRestore();
  });
  const up = installSimulatorUnless(async (body: UpstreamBody, { signal }) => {
    if (!isSummaryRequest(body)) return answering(body);
    await waitForCondition(() => {
      signal?.throwIfAborted();
      return state.isGoing;
    });
    return undefined;
  });
  await createConversationWith();
  return { state, ...up };
}

/** Talks until a turn waits for a summary. @returns that turn, with what it says until then */
async function untilItWaits() {
  for (let turn = 0; turn < 20; turn += 1) {
    const answer = await sendTurn(questionBody(createLongText(turn)));
    if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const first = answer.first ?? (await reader.read()).value ?? '';
    const rest = async () => {
      let text = '';
      for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
      return text;
    };
    if (first.startsWith(PING)) return { turn: answer.turn, headers: answer.headers, rest };
    await rest();
  }
  throw new Error('None has waited.');
}

test('a turn that waits for a slow summary sends pings and continues without it, and the next turn uses it', async () => {
  const { state, sent } = await slow();
  const { turn, rest } = await untilItWaits();
  const before = sent.length;
  state.isLate = true;
  const text = await rest();
  expect(text).toMatch(/^(event: ping\ndata: .*\n\n)*: sluice-history truncated\n\nid: /);
  expect(text).toContain(`id: ${turn}-1\nevent: message_start\n`);
  expect(text).toMatch(/event: message_stop.*\0\{"outcome":/s);
  // What went up has none, since it still goes on.
  expect(sent.slice(before).map(isSummaryRequest)).toEqual([false]);
  expect(await readSummaries()).toEqual([]);
  state.isGoing = true;
  await eventually(async () => expect(await readSummaries()).toHaveLength(1));
  const next = await sendTurn(questionBody('And now?'));
  if (next.kind !== 'stream') throw new Error(JSON.stringify(next));
  await new Response(next.body).text();
  expect(next.headers).not.toHaveProperty('sluice-history');
  expect(JSON.stringify(sent.at(-1)?.messages[0])).toContain('This is a summary');
  await readBooked();
});

test.each([
  ['a stop', 'stopped before the response began'],
  ['a refusal of the upstream', 'No such thing.'],
])('%s after pings is an error event in the stream', async (why, says) => {
  let refuses = false;
  const { state } = await slow(() => (refuses ? createErrorResponse(400, 'No such thing.') : undefined));
  const { rest } = await untilItWaits();
  refuses = true;
  if (why === 'a stop') await stubOf().stopRunningTurn();
  state.isLate = true;
  const told = new RegExp(`event: error\\ndata: {"type":"error".*${says}.*\\n\\n\\0{"outcome":`);
  expect(await rest()).toMatch(told);
  state.isGoing = true;
  await readBooked();
});

test('a non-streaming turn waits for a slow summary as long as a streaming one, and returns the whole response', async () => {
  const { state } = await slow();
  state.isLate = true;
  for (let turn = 0; turn < 12; turn += 1) {
    const answer = await sendTurn(questionBody(createLongText(turn), { stream: false }), { stream: false });
    expect(answer).toMatchObject({ kind: 'response', status: 200 });
    if (answer.kind === 'response' && answer.headers['sluice-history'] === 'truncated') break;
    expect(turn).toBeLessThan(11);
  }
  state.isGoing = true;
  await readBooked();
});
