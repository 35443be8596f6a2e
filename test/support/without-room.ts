import { onTestFinished } from 'vitest';
import { shareRooms } from '../../src/edge/kit/rooms/rooms.ts';
import type { Room } from '../../src/edge/rooms/room.ts';
import { ROOMS } from '../../src/edge/rooms.ts';

/** Has the edge be without a room until the test ends, or until what is returned is called. Routes that an app has stay. */
export function withoutRoom(room: Room): () => void {
  const { name: _, needs: __, ...plugs } = room;
  for (const seam of Object.keys(plugs)) Reflect.deleteProperty(room, seam);
  // What is made of the rooms is made anew for another list.
  shareRooms([...ROOMS]);
  const again = () => {
    Object.assign(room, plugs);
    shareRooms([...ROOMS]);
  };
  onTestFinished(again);
  return again;
}
