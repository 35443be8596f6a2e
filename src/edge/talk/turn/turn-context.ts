import type { PlainHeaders } from '../../claude/headers.ts';
import type { Upstream } from '../../claude/upstream.ts';
import type { RequestContext } from '../../gate/auth/context.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import type { MeterRequest } from '../../money/admission/metered-request.ts';
import type { ListedParent, Settled } from '../../money/contracts/settlement.ts';
import type { Transcript } from '../storage/transcript.ts';

/** The body of a turn, with its prefix put before it. */
export interface LaidBody {
  body: JsonBody;
  /** The models that may step in, according to the prefix. */
  fallbacks: readonly string[] | undefined;
}

/** What a turn needs from the request that began it, and from the object in which it runs. */
export interface TurnContext extends RequestContext {
  conversation: string;
  /** The call that a subagent's conversation answers. */
  parent?: ListedParent | undefined;
  /** Whether it is in the background. Then its caller is answered once it has gone up. */
  background?: boolean | undefined;
  /** Bytes of the new messages. */
  adds: number;
  most?: MeterRequest['most'];
  about: MeterRequest['about'];
  /** Puts the conversation's prefix before the turn's body, unless what the conversation holds was withdrawn. */
  lay?: ((body: JsonBody) => Promise<LaidBody>) | undefined;
  upstream: Upstream;
  /** If there are several upstreams: the name of the one that answered the turn before. */
  stays?: string | undefined;
  /** The models that may step in, according to the caller. */
  fallbacks?: readonly string[] | undefined;
  transcript: Transcript;
  /** The caller's headers and query, which go up. */
  headers: PlainHeaders;
  query: string;
  now(): number;
  /** Called once, at the end. @param settled confirms the settlement; undefined if nothing has to be settled */
  onEnd(settled: Promise<Settled> | undefined): void;
  /** Called if the end could not be stored. The object must restart, and then ends the turn from its log. */
  onBroken(thrown: unknown): void;
}
