/** What a conversation that has summaries does on an edge without the room of summaries. */
import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { summariesRoom } from '../../../../src/edge/rooms/summaries/room.ts';
import { createConversation, patchConversation } from '../../../../src/edge/talk/conversations/conversations.schema.ts';
import { rowsOf, stubOf } from '../../../support/conversations.ts';
import { eventually, untilSo } from '../../../support/eventually.ts';
import {
  booked,
  createWith,
  isForSummary,
  LIMIT,
  summariesOf,
  summaryRowsOf,
  talk,
  upstreamOf,
} from '../../../support/summaries.ts';
import { withoutRooms } from '../../../support/without-room.ts';

/** What the last prompt that went up for a turn begins with. */
const beginning = (sent: ReturnType<typeof upstreamOf>['sent']) =>
  JSON.stringify(sent.filter((body) => !isForSummary(body)).at(-1)?.messages[0]);

test('it goes on behind the summaries that it has, makes none, says what it leaves out, and makes some with the room again', async () => {
  const { sent, upstream } = upstreamOf();
  await createWith();
  await talk(11);
  await booked();
  const before = await summariesOf();
  expect(before.length).toBeGreaterThan(0);
  const again = withoutRooms(summariesRoom);
  await abortAllDurableObjects();
  const asked = sent.filter(isForSummary).length;
  expect(beginning(sent)).toContain('"type":"compaction"');
  // The first turn fits behind the summary, which is said in words where another upstream answers. Later ones do not.
  upstream.baseURL = 'https://another.test';
  const told = await talk(1, 20);
  expect(told).toEqual([undefined]);
  expect(beginning(sent)).toContain('This is a summary');
  told.push(...(await talk(6, 21)));
  expect(told.at(-1)).toBe('truncated');
  expect(beginning(sent)).not.toContain('This is a summary');
  expect(sent.filter(isForSummary)).toHaveLength(asked);
  expect(await summariesOf()).toEqual(before);
  expect(await rowsOf()).toHaveLength(2 * (11 + 7));
  const kept = await stubOf().backup();
  const lines = kept.ok ? (await new Response(kept.value as ReadableStream).text()).split('\n') : [];
  expect(lines.filter((line) => line.startsWith('["summary"'))).toHaveLength(before.length + 1);
  await booked();

  again();
  await abortAllDurableObjects();
  await talk(2, 30);
  await eventually(async () => expect((await summariesOf()).length).toBeGreaterThan(before.length));
  expect(sent.filter(isForSummary).length).toBeGreaterThan(asked);

  await booked();
  expect(await stubOf().erase()).toBe(true);
});

test('one that was being made when its object died is settled once', async () => {
  let isGoing = false;
  const { sent } = upstreamOf(async (body, { signal }) => {
    if (!isForSummary(body)) return undefined;
    await untilSo(() => {
      signal?.throwIfAborted();
      return isGoing;
    });
    return undefined;
  });
  await createWith();
  const talking = talk(11).catch((thrown: unknown) => thrown);
  await eventually(() => expect(sent.some(isForSummary)).toBe(true));
  withoutRooms(summariesRoom);
  await abortAllDurableObjects();
  isGoing = true;
  await talking;
  await stubOf().read();
  await eventually(async () => expect((await summaryRowsOf()).every(({ settled }) => settled)).toBe(true));
  expect(await summaryRowsOf()).toMatchObject([{ status: 'failed', settled: true }]);
  const settled = await booked();
  expect(settled).toMatchObject({ rows: 1, summaries: expect.any(Number) });
  expect(settled.summaries).toBeGreaterThan(0);
  await runDurableObjectAlarm(stubOf());
  await abortAllDurableObjects();
  await stubOf().read();
  expect(await booked()).toEqual(settled);
  expect(sent.filter(isForSummary)).toHaveLength(1);
});

test('the strategy can be set only where something makes summaries', () => {
  const history = { max_tokens: LIMIT, strategy: 'summarize' } as const;
  const faultsOf = () =>
    [createConversation, patchConversation].map((schema) => schema.safeParse({ history }).error?.issues);
  expect(faultsOf()).toEqual([undefined, undefined]);
  withoutRooms(summariesRoom);
  const fault = { path: ['history', 'strategy'], message: expect.stringContaining('without what reads') };
  expect(faultsOf()).toMatchObject([[fault], [fault]]);
  expect(patchConversation.safeParse({ history: { ...history, strategy: 'truncate' } }).success).toBe(true);
  expect(patchConversation.safeParse({ history: null }).success).toBe(true);
});
