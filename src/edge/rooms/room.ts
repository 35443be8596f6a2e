import type { HeadersPlugged } from '../kit/http/headers/answer-headers.ts';
import type { AnyRoom } from '../kit/rooms/rooms.ts';
import type { ViewPlugged } from '../talk/contracts/answer-view.ts';
import type { MembersPlugged } from '../talk/contracts/member.ts';

/** A feature: one folder, one object, one line in the list of rooms. Each of its members is a seam of the core. */
export interface Room extends AnyRoom, MembersPlugged, HeadersPlugged, ViewPlugged {}
