/** What conversations do on an edge that neither copies them nor backs them up. */
import { abortAllDurableObjects } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { backupRoom } from '../../../../src/edge/rooms/backup/room.ts';
import { choiceRoom } from '../../../../src/edge/rooms/choice/room.ts';
import { transferRoom } from '../../../../src/edge/rooms/transfer/room.ts';
import { readOf, rowsOf, simulate, stubOf } from '../../../support/conversations.ts';
import { backupOf } from '../../../support/long-backup.ts';
import { bodyOf, say } from '../../../support/turns.ts';
import { withoutRooms } from '../../../support/without-room.ts';

const place = (id: string) => ({ account: 'alice', id });
const adopt = (id: string, text: string) => stubOf(id).adopt(place(id), new Blob([text]).stream());
const lacks = (room: string) => ({
  ok: false,
  error: { status: 409, message: expect.stringContaining(`this edge has no room "${room}"`) },
});

async function linesOf(id: string): Promise<string[]> {
  const kept = await stubOf(id).backup();
  return kept.ok ? (await new Response(kept.value as ReadableStream).text()).trimEnd().split('\n') : [];
}

/** A conversation of three turns, each with a line of a kind that nobody here knows, and with a summary of the first turn. */
function copied(): string {
  const [profile = '', ...lines] = backupOf(3).trimEnd().split('\n');
  const turns = lines.flatMap((line) =>
    line.startsWith('["turn"') ? [line, `["votes",${JSON.parse(line)[1].seq}]`] : [line],
  );
  const summary = { id: 1, until: 2, turn: 1, model: 'm', place: null, tokens: 3, cost: 0, beganAt: 0 };
  const sent = { role: 'user', content: 'They have greeted each other.' };
  return [profile.replace('{', '{"mood":"calm",'), JSON.stringify(['summary', summary, sent]), ...turns].join('\n');
}

const votesIn = (lines: readonly string[]) => lines.filter((line) => line.startsWith('["votes"'));

test('they go on, are read, rewound and deleted with all that copies have brought; others name the room', async () => {
  simulate();
  expect(await adopt('c1', `${copied()}\n`)).toMatchObject({ ok: true });
  expect(await adopt('c2', `${copied()}\n`)).toMatchObject({ ok: true });
  const before = await linesOf('c1');
  expect(votesIn(before)).toEqual(['["votes",1]', '["votes",2]', '["votes",3]']);
  expect(before.filter((line) => line.startsWith('["summary"'))).toHaveLength(1);
  const read = [await readOf(), await rowsOf()];

  const again = withoutRooms(transferRoom, backupRoom);
  await abortAllDurableObjects();
  expect([await readOf(), await rowsOf()]).toEqual(read);
  await say(bodyOf('And now?'));
  expect(await readOf()).toMatchObject({ turns: 4 });
  expect(await stubOf().fork('c3', undefined)).toMatchObject(lacks('transfer'));
  expect(await stubOf().export()).toMatchObject(lacks('transfer'));
  expect(await adopt('c3', backupOf(1))).toMatchObject(lacks('transfer'));
  expect(await stubOf().backup()).toMatchObject(lacks('backup'));
  const messages = JSON.stringify([{ role: 'user', content: 'Hi' }]);
  expect(await stubOf('c3').create(place('c3'), {}, { messages })).toMatchObject(lacks('transfer'));
  expect(await stubOf('c3').read()).toMatchObject({ ok: false, error: { status: 404 } });
  expect(await stubOf('c3').create(place('c3'), { title: 'Mine' }, {})).toMatchObject({ ok: true });
  expect(await readOf('c3')).toMatchObject({ title: 'Mine', messages: 0 });

  expect(await stubOf().rewind('msg_5')).toMatchObject({ ok: true });
  expect(await readOf()).toMatchObject({ turns: 2, messages: 4, summaries: [expect.anything()] });
  expect(await stubOf('c2').rewind('msg_1')).toMatchObject({ ok: true });
  // A summary of what has gone is none.
  expect(await readOf('c2')).toMatchObject({ turns: 0, messages: 0, summaries: [] });
  expect(await stubOf('c2').erase()).toBe(true);
  expect(await readOf('c2')).toBeUndefined();

  again();
  const after = await linesOf('c1');
  expect(votesIn(after)).toEqual(['["votes",1]', '["votes",2]']);
  expect(JSON.parse(after[0] ?? '')[1]).toMatchObject({ mood: 'calm' });
  expect(await stubOf().fork('c4', undefined)).toMatchObject({ ok: true });
  expect(votesIn(await linesOf('c4'))).toEqual(votesIn(after));
});

test('how models were chosen is copied also where nothing chooses them', async () => {
  simulate();
  const by = { label: 'easy', classifier: null, arm: 'chosen', why: 'label' };
  const choices = JSON.stringify([1, 3].map((turn) => ({ turn, hash: 'h', model: 'm', by })));
  const text = backupOf(3).replace('{', `{"choices":${choices},`);
  const turnsChosen = async (id: string) => {
    const { choices, asksAgain } = JSON.parse((await linesOf(id))[0] ?? '')[1];
    return [choices.map((one: { turn: number }) => one.turn), asksAgain];
  };
  await adopt('c1', text);
  await stubOf().fork('c2', 'msg_2');
  expect([await turnsChosen('c1'), await turnsChosen('c2')]).toEqual([
    [[1, 3], undefined],
    [[1], true],
  ]);
  withoutRooms(choiceRoom);
  await abortAllDurableObjects();
  expect(await turnsChosen('c1')).toEqual([[1, 3], undefined]);
  expect(await adopt('c3', text)).toMatchObject({ ok: true });
  await stubOf('c2').fork('c4', undefined);
  expect([await turnsChosen('c3'), await turnsChosen('c4')]).toEqual([
    [[1, 3], undefined],
    [[1], true],
  ]);
});
