import { afterAll, beforeEach, expect, test, vi } from 'vitest';

// What is shared holds for the whole isolate: each test has the module anew.
let rooms: typeof import('#edge/kit/rooms/rooms.ts');
beforeEach(async () => {
  vi.resetModules();
  rooms = await import('#edge/kit/rooms/rooms.ts');
});
// The next file has all rooms.
afterAll(() => void vi.resetModules());

test('what rooms plug into a seam comes in the order of their list', () => {
  const bells = rooms.seam<string>()('bell');
  expect(rooms.pluggedInto(bells)).toEqual([]);
  const list = [{ name: 'a', bell: 'ding' }, { name: 'silent' }, { name: 'b', bell: 'dong' }];
  rooms.shareRooms(list);
  rooms.shareRooms([...list]);
  expect(rooms.pluggedInto(bells)).toEqual(['ding', 'dong']);
  expect(['a', 'silent', 'none'].map((room) => rooms.pluggedInto(bells, room))).toEqual([['ding'], [], []]);
});

test('a second list, a name twice and a need that is absent are refused by their names', () => {
  const tower = { name: 'tower' };
  expect(() => rooms.shareRooms([{ name: 'clock', needs: [tower] }])).toThrow('clock needs tower');
  expect(() => rooms.shareRooms([tower, { name: 'tower' }])).toThrow('two are called tower');
  rooms.shareRooms([{ name: 'clock', needs: [tower] }, tower]);
  expect(() => rooms.shareRooms([tower])).toThrow('different rooms');
});

test('a second room at a seam for one is refused by its name, and one alone is read', () => {
  const clapper = rooms.singleSeam<string>()('clapper');
  const tower = { name: 'tower', clapper: 'ding' };
  expect(() => rooms.shareRooms([tower, { name: 'clock' }, { name: 'church', clapper: '' }])).toThrow(
    'tower and church both have `clapper`. Leave out one of them.',
  );
  expect(rooms.pluggedOne(clapper)).toBeUndefined();
  rooms.shareRooms([tower, { name: 'clock' }]);
  expect(rooms.pluggedOne(clapper)).toBe('ding');
});

test('what is made of the rooms is made once for each list', () => {
  const make = vi.fn(() => rooms.pluggedInto(rooms.seam<string>()('bell')).join());
  const bells = rooms.ofRooms(make);
  expect(bells()).toBe('');
  rooms.shareRooms([{ name: 'a', bell: 'ding' } as { name: string }]);
  expect([bells(), bells()]).toEqual(['ding', 'ding']);
  expect(make).toHaveBeenCalledTimes(2);
});

test('a list that is changed once an app has it is another list', () => {
  const bells = rooms.seam<string>()('bell');
  const list = [{ name: 'a', bell: 'ding' }];
  rooms.shareRooms(list);
  list.push({ name: 'b', bell: 'dong' });
  expect(rooms.pluggedInto(bells)).toEqual(['ding']);
  expect(() => rooms.shareRooms(list)).toThrow('different rooms');
});

const SINGLES = ['guard', 'agents', 'alertInbox', 'allAccounts'];

test.each(SINGLES)('a room of one’s own does not take the place of the one that has `%s`', async (seam) => {
  const { ROOMS } = await import('#edge/rooms.ts');
  const own = { name: 'own', [seam]: {} };
  for (const list of [
    [own, ...ROOMS],
    [...ROOMS, own],
  ])
    expect(() => rooms.shareRooms(list)).toThrow(`both have \`${seam}\`. Leave out one of them.`);
});
