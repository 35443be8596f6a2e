import { onTestFinished } from 'vitest';
import { shareRooms } from '../../src/edge/kit/rooms/rooms.ts';
import type { Room } from '../../src/edge/rooms/room.ts';
import { ROOMS } from '../../src/edge/rooms.ts';

/** Has the edge have no such rooms until the test ends, or until what is returned is called. */
export function leaveOut(...rooms: readonly Room[]): () => void {
  const left = rooms.map((room) => {
    const { name: _, needs: __, ...plugs } = room;
    for (const seam of Object.keys(plugs)) Reflect.deleteProperty(room, seam);
    return () => Object.assign(room, plugs);
  });
  // What is made of the rooms is made anew for another list.
  shareRooms([...ROOMS]);
  const again = () => {
    for (const put of left) put();
    shareRooms([...ROOMS]);
  };
  onTestFinished(again);
  return again;
}
