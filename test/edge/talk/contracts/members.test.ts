import { beforeEach, expect, test, vi } from 'vitest';
import * as z from '../../../../src/edge/kit/http/zod.ts';
import type { Room } from '../../../../src/edge/rooms/room.ts';

// The rooms hold for the whole isolate: each test has the modules anew.
let members: typeof import('../../../../src/edge/talk/contracts/members.ts');
let rooms: readonly Room[];
let use: (rooms: readonly Room[]) => void;
beforeEach(async () => {
  vi.resetModules();
  ({ ROOMS: rooms } = await import('../../../../src/edge/rooms.ts'));
  ({ shareRooms: use } = await import('../../../../src/edge/kit/rooms/rooms.ts'));
  members = await import('../../../../src/edge/talk/contracts/members.ts');
});

test.each([
  ['agents', ['agent', 'agent_tools'], ['sluice-agent']],
  ['choice', [], ['sluice-model', 'sluice-fallback-models']],
  ['runs', ['max_turns', 'max_usd', 'max_seconds', 'max_tool_calls', 'parallel_tools', 'on_pending_tools'], []],
  ['background', ['background', 'retry', 'deliver_url'], []],
  ['show', ['show'], ['sluice-show']],
])('where %s is absent, its members are refused by their names, and no others', (absent, names, headers) => {
  use(rooms.filter(({ name, needs = [] }) => name !== absent && !needs.some((one) => one.name === absent)));
  for (const name of names) {
    expect(() => members.refuseAbsent({ [name]: null })).toThrow(expect.objectContaining({ status: 400 }));
    expect(() => members.refuseAbsent({ [name]: null })).toThrow(`${name}: this edge is without`);
  }
  for (const name of headers) {
    expect(() => members.refuseAbsent({}, new Headers({ [name]: 'x' }))).toThrow(`${name}: this edge is without`);
  }
  const others = Object.fromEntries(
    [...members.memberNames(), 'model', 'messages', 'max_tokens'].map((name) => [name, 1]),
  );
  members.refuseAbsent(others, new Headers({ 'sluice-conversation': 'talk' }));
});

test('a member of a new room is everywhere by its declaration alone', () => {
  const mood = {
    schema: z.string(),
    header: 'sluice-mood',
    open: ['bound'],
  } as const;
  use([...rooms, { name: 'moods', members: { mood } }]);
  members.refuseAbsent({ mood: 'good' });
  expect(members.memberNames(members.isOpenTo('bound'))).toContain('mood');
  expect(members.memberHeaders(members.isOpenTo('bound'))).toContain('sluice-mood');
  expect(members.memberNames(members.isOpenTo('item'))).toEqual(['prefix']);
  expect(members.withoutMembers().ofTurn).toHaveProperty('mood', undefined);
  expect(members.withoutMembers().ofTurn).not.toHaveProperty('max_turns');
  const json = { mood: 'good', max_turns: 3, model: 'claude-haiku-5-5' };
  expect(members.withoutMembers().unasked).toHaveProperty('mood', undefined);
  expect(Object.keys(members.withoutMembers().unasked)).not.toContain('max_turns');
  members.checkMembers(new Headers({ 'sluice-mood': 'good' }), json);
  expect(() => members.checkMembers(new Headers(), { mood: 7 })).toThrow(/^mood: /);
  expect(() => members.checkMembers(new Headers({ 'sluice-mood': 'bad' }), json)).toThrow(
    'mood: the body and the header',
  );
  // What the body never says is the API's there.
  expect(members.withoutMembers().all).not.toHaveProperty('model');
});
