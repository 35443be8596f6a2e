// All rooms, for scripts. Its types stand in rooms.d.mts: those of what rooms import are the runtime's, which scripts do not have.
export { ROOMS } from '../src/edge/rooms.ts';
