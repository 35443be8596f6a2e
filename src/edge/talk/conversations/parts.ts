import type { ApiError } from '../../kit/http/errors.ts';
import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';
import type { BoundCaller } from '../contracts/conversation.ts';
import type { Profile } from '../storage/rows.ts';
import type { Transcript } from '../storage/transcript.ts';
import type { Runner } from '../turn/running-turn.ts';
import type { TurnHooks } from './begin-turn.ts';
import type { ConversationContext } from './maintenance.ts';

/** What a conversation's object gives to the methods of a part. */
export interface OpenConversation {
  readonly context: ConversationContext;
  readonly hooks: TurnHooks;
  /** @returns the profile; undefined if the conversation does not exist. Ends first what a crash has interrupted */
  profile(): Profile | undefined;
  /** @returns the 403 for a bound token that may not use this conversation; undefined for whoever may */
  refusalOf(by: BoundCaller | undefined): ApiError | undefined;
  /** @returns the 409 for a conversation whose prefix or agent was withdrawn; undefined for any other */
  withdrawal(): Promise<unknown>;
  /** Takes the lock for a turn that has begun. */
  begun(runner: Runner): void;
}

/** A method as its room types it: its arguments come from a call of the object. */
interface PartMethod {
  call(object: OpenConversation, ...args: readonly unknown[]): unknown;
}

/** What a room has inside the object of a conversation. Its rows are in the tables of the conversation. */
export interface ConversationPart {
  /** @returns why no turn may begin while calls wait for a decision; undefined if that is not for this room */
  refusal?(transcript: Transcript): ApiError | undefined;
  /** Ends what waits of a turn that is cancelled. */
  cancel?(transcript: Transcript, turn: string, now: number): void;
  /** What is called by `part` of the object, by name. */
  methods: Readonly<Record<string, PartMethod['call']>>;
}
export const CONVERSATION_PARTS = seam<ConversationPart>()('conversation');

/** @returns the parts of all rooms in use. Every turn asks */
export const partsInUse = ofRooms(() => pluggedInto(CONVERSATION_PARTS));
