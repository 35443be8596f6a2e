import type { AnyRoom } from '../src/edge/kit/rooms/rooms.ts';

export declare const ROOMS: readonly AnyRoom[];
