import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Room, RoomShare } from '../../src/http/body-room.ts';

const MB = 1024 * 1024;

test('whatever comes and goes, all room is given back, and there is never more taken than there is', () => {
  const step = fc.record({
    who: fc.nat(9),
    does: fc.oneof(
      fc.constant('leaves' as const),
      fc.oneof(fc.nat(300_000), fc.nat(8 * MB), fc.nat(100 * MB)).map((bytes) => ({ bytes })),
    ),
  });
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 10, maxLength: 10 }), fc.array(step), (strange, steps) => {
      const room = new Room();
      const shares = strange.map((isStrange) => new RoomShare(room, isStrange));
      for (const [index, share] of shares.entries()) if (index % 2 === 0) share.ofCaller(`caller ${index % 3}`);
      for (const { who, does } of steps) {
        const share = shares[who];
        if (does === 'leaves') share?.leave();
        else {
          const before = room.taken;
          try {
            share?.grow(does.bytes);
          } catch (thrown) {
            expect(thrown).toMatchObject({ type: 'api_error', status: 503, headers: { 'retry-after': '2' } });
            expect(room.taken).toBe(before);
          }
        }
        expect(room.taken).toBeLessThanOrEqual(48 * MB);
        expect(room.strange).toBeLessThanOrEqual(Math.min(room.taken, 26 * MB));
      }
      for (const share of shares) share.leave();
      expect(room).toEqual(new Room());
    }),
  );
});

test('the largest body finds room beside short ones, and short ones beside it', () => {
  const room = new Room();
  for (let count = 0; count < 20; count += 1) new RoomShare(room).grow(100_000);
  new RoomShare(room).grow(1_000 * MB);
  expect(() => new RoomShare(room).grow(8 * MB)).toThrow('Too many large requests');
  expect(() => new RoomShare(room).grow(200_000)).not.toThrow();
});

test('one caller leaves room for the others, whatever they send at a time', () => {
  const room = new Room();
  const of = (caller: string) => {
    const share = new RoomShare(room);
    share.ofCaller(caller);
    return share;
  };
  for (const _ of [1, 2, 3, 4, 5]) of('alice').grow(6 * MB);
  expect(() => of('alice').grow(6 * MB)).toThrow('Too many large requests');
  expect(() => of('alice').grow(200_000)).not.toThrow();
  expect(() => of('bob').grow(9 * MB)).not.toThrow();
});

test('the largest body of a caller fits alone, also one that grows while it comes', () => {
  const room = new Room();
  const share = new RoomShare(room);
  share.ofCaller('alice');
  for (const size of [1, 8, 21, 31]) share.grow(size * MB);
  share.leave();
  expect(() => share.grow(31 * MB)).not.toThrow();
});

test('strangers leave room for callers', () => {
  const room = new Room();
  new RoomShare(room, true).grow(25 * MB);
  expect(() => new RoomShare(room, true).grow(2 * MB)).toThrow('Too many large requests');
  expect(() => new RoomShare(room).grow(12 * MB)).not.toThrow();
});

test('the memory of what was kept is given back with the share', () => {
  const share = new RoomShare(new Room());
  const bytes = new Uint8Array(1_000);
  share.keep(bytes);
  share.leave();
  expect(bytes.length).toBe(0);
});
