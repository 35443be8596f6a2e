import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { bindings, listMessages, readConversation, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import {
  createConversationWith,
  createLongText,
  installSimulatorUnless,
  isSummaryRequest,
  questionBody,
  readSummaries,
  type Summary,
  sendManyTurns,
} from '#test/support/summaries.ts';
import { sendTurn } from '#test/support/turns.ts';

/** The summaries of a conversation, once there is one. */
async function summariesMade(): Promise<Summary[]> {
  await eventually(async () => expect(await readSummaries()).not.toHaveLength(0));
  return await readSummaries();
}

test('a conversation above its history limit continues with a summary of its oldest turns', async () => {
  const { sent } = installSimulatorUnless();
  await createConversationWith();
  expect(new Set(await sendManyTurns(24))).toEqual(new Set([undefined]));
  const turns = sent.filter((body) => !isSummaryRequest(body));
  const last = JSON.stringify(turns.at(-1)?.messages);
  expect(last).toContain('This is a summary');
  for (let turn = 0; turn < 24; turn += 1) expect(last).toContain(`Remember: box ${turn} is number ${1_000 + turn}`);
  const summaries = await summariesMade();
  expect(summaries.length).toBeGreaterThan(1);
  for (const { cost_usd } of summaries) expect(cost_usd).toBeGreaterThan(0);
  expect(await listMessages()).toHaveLength(48);
});

test('starts a summary after a response whose prompt is cached, without delaying a turn', async () => {
  const { sent } = installSimulatorUnless();
  await createConversationWith({ max_tokens: 4_000 });
  await sendManyTurns(16);
  await summariesMade();
  const at = sent.findIndex(isSummaryRequest);
  // The turn before it has not waited: it had gone up without one.
  expect(sent.slice(0, at).every(({ messages }) => JSON.stringify(messages[0]).includes('Box 0'))).toBe(true);
  const [turn, summary] = [sent[at - 1], sent[at]];
  // What is asked for begins as the turn before, so that it is read from the cache.
  expect(JSON.stringify(turn?.messages)).toContain(JSON.stringify(summary?.messages.slice(0, -1)).slice(1, -1));
});

test('each summary reads its prompt from the cache, and not only the first one', async () => {
  const { sent } = installSimulatorUnless();
  await createConversationWith({ max_tokens: 4_000 });
  await sendManyTurns(40);
  const texts = sent.map(({ messages }) => messages.map((message) => JSON.stringify(message)));
  const summaries = sent.flatMap((body, at) => (isSummaryRequest(body) ? [at] : []));
  expect(summaries.length).toBeGreaterThan(2);
  for (const at of summaries) {
    // The cache has whole prompts, and what begins as one of them reads that.
    const own = texts[at] ?? [];
    const before = texts.slice(0, at).filter((_, nth) => !summaries.includes(nth));
    expect(before.some((prompt) => prompt.every((message, nth) => message === own[nth]))).toBe(true);
  }
});

test('the history setting determines a summary’s instructions and maximum length', async () => {
  const { sent } = installSimulatorUnless();
  await createConversationWith({ instructions: 'Keep the numbers.', summary_max_tokens: 700 });
  await sendManyTurns(9);
  const isAsked = ({ messages }: (typeof sent)[number]) => messages.at(-1)?.content === 'Keep the numbers.';
  await eventually(() => expect(sent.some(isAsked)).toBe(true));
  // What it may think, beside 256 tokens of text, has its own tokens.
  expect(sent.find(isAsked)?.max_tokens).toBe(700 + 2_048 - 256);
});

test('a rewind to before a summary’s end discards the summary, and the original messages are sent again', async () => {
  const { sent } = installSimulatorUnless();
  await createConversationWith();
  await sendManyTurns(10);
  const summaries = await summariesMade();
  const rows = await listMessages();
  const end = rows.findIndex(({ id }) => id === summaries[0]?.until);
  expect(rows[end]?.role).toBe('assistant');
  const before = rows[end - 3];
  await stubOf().rewindConversation(String(before?.id));
  expect((await readConversation())?.summaries).toEqual([]);
  await sendManyTurns(1, 20);
  const last = sent.filter((body) => !isSummaryRequest(body)).at(-1)?.messages ?? [];
  expect(last).toHaveLength(end - 3 + 1);
  expect(last.slice(0, -1).map(({ content }) => JSON.stringify(content))).toEqual(
    rows.slice(0, end - 3).map(({ content }) => JSON.stringify(content)),
  );
});

test('a fork after the range of a summary keeps the summary, and a fork within the range does not', async () => {
  const { sent } = installSimulatorUnless();
  await createConversationWith();
  await sendManyTurns(10);
  const summaries = await summariesMade();
  const rows = await listMessages();
  const end = rows.findIndex(({ id }) => id === summaries[0]?.until);
  await stubOf().forkConversation('behind', rows.at(-1)?.id);
  await stubOf().forkConversation('within', rows[end - 2]?.id);
  const upFrom = async (id: string) => {
    const answer = await sendTurn(questionBody('And now?'), { id });
    if (answer.kind === 'stream') await new Response(answer.body).text();
    return sent.filter((body) => !isSummaryRequest(body)).at(-1)?.messages ?? [];
  };
  expect((await upFrom('behind'))[0]?.content).toContain('This is a summary');
  expect((await readConversation('behind'))?.summaries).toEqual(summaries);
  expect(await upFrom('within')).toHaveLength(end - 2 + 2);
  expect(await readConversation('within')).not.toHaveProperty('summaries');
});

test('if the account cannot hold a summary’s cost, a turn is sent without the oldest turns and reports the truncation', async () => {
  const { sent } = installSimulatorUnless(undefined, { vars: { DEFAULT_LIMITS: '{"usd_per_day":0.06}' } });
  await createConversationWith({ summary_max_tokens: 1_999 });
  const told: unknown[] = [];
  for (let turn = 0; !told.includes('truncated') && turn < 16; turn += 1) told.push(...(await sendManyTurns(1, turn)));
  expect(told.at(-1)).toBe('truncated');
  expect(sent.some(isSummaryRequest)).toBe(false);
  expect((await readConversation())?.summaries).toEqual([]);
  const account = getAccountStub(bindings, {}, 'alice');
  await eventually(async () => expect((await account.getQuotaReport()).day.held_usd).toBe(0));
});

test('a repeated request for a truncated turn reports the truncation again', async () => {
  installSimulatorUnless(undefined, { vars: { DEFAULT_LIMITS: '{"usd_per_day":0.06}' } });
  await createConversationWith({ summary_max_tokens: 1_999 });
  const told: (string | undefined)[][] = [];
  for (let turn = 0; turn < 10; turn += 1) {
    const both: (string | undefined)[] = [];
    for (const _ of ['first', 'again']) {
      const answer = await sendTurn(questionBody(createLongText(turn)), { key: `turn-${turn}` });
      if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
      both.push(answer.headers['sluice-history']);
      await new Response(answer.body).text();
    }
    told.push(both);
  }
  expect(told.flat()).toContain('truncated');
  for (const [first, again] of told) expect(again).toBe(first);
});
