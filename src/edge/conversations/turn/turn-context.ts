import type { RequestContext } from '../../auth/context.ts';
import type { PlainHeaders } from '../../claude/headers.ts';
import type { Upstream } from '../../claude/upstream.ts';
import type { SteppedWork } from '../../kit/async/run-in-steps.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import type { SseEventReader } from '../../kit/sse/frames.ts';
import type { RequestToBill } from '../../money/admission/request-to-bill.ts';
import type { ParentToolCall, SettlementResult } from '../../money/contracts/settlement.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import type { EventWriter, TurnEventLog } from './event-log.ts';
import type { MessageBuilder } from './message-builder.ts';

/** The body of a turn, with its prefix put before it. */
export interface PrefixedTurnBody {
  body: JsonBody;
  /** The models that may step in, according to the prefix. */
  fallbackModels: readonly string[] | undefined;
}

/** What a turn needs from the request that began it, and from the object in which it runs. */
export interface TurnExecutionContext extends RequestContext {
  conversation: string;
  /** The call that a subagent's conversation answers. */
  parent?: ParentToolCall | undefined;
  /** Whether it is in the background. Then its caller is answered once it has been sent. */
  background?: boolean | undefined;
  /** Whether its caller gets a stream. Then pings answer the caller while the upstream is silent. */
  isStreaming: boolean;
  /** Whether it is a later step of a run. */
  isLaterStep?: boolean | undefined;
  /** The number of characters (UTF-16 code units) of the new messages. */
  newCharacters: number;
  costLimit?: RequestToBill['costLimit'];
  dimensions: RequestToBill['dimensions'];
  /** Puts the conversation's prefix before the turn's body. Throws if its prefix or agent was withdrawn. */
  applyPrefix?: ((body: JsonBody) => Promise<PrefixedTurnBody>) | undefined;
  upstream: Upstream;
  /** If there are several upstreams: the name of the one that answered the turn before. */
  previousUpstream?: string | undefined;
  /** The upstreams that have its prompts in their caches; absent before the second turn. */
  cachedAt?: readonly string[] | undefined;
  /** The models that may step in, according to the caller. */
  fallbackModels?: readonly string[] | undefined;
  transcript: Transcript;
  /** The caller's headers and query, which are sent. */
  headers: PlainHeaders;
  query: string;
  now(): number;
  /** Called once, at the end. @param settled confirms the settlement; undefined if nothing has to be settled */
  onEnd(settled: Promise<SettlementResult> | undefined): void;
  /** Called if the end could not be stored. The object must restart, and then ends the turn from its log. */
  onEndNotStored(thrown: unknown): void;
}

/** Options of a turn that is a step of a run, or that is restored after a crash. */
export interface StepOrRecoveryOptions {
  /** The log, if there is one already: that of a step's run, or of a turn that a crash has interrupted. */
  log?: TurnEventLog;
  /** For a step of a run: makes its writer for the run's log. Only the run ends that log, and stores its last events. */
  createStepWriter?: (builder: MessageBuilder) => EventWriter;
  /** For a step of a run: returns a function that stores its calls of the edge's tools; undefined if there are none. */
  prepareCalls?: (content: readonly JsonObject[]) => (() => void) | undefined;
  /** Whether it is a later step of a run. (A run counts as one turn.) */
  isLaterStep?: boolean;
  /** Whether the edge has made its messages, as in a step with results of calls. They do not stay without an answer. */
  isOfEdge?: boolean;
  /** For a step of a run: the run, which clients know of. They do not know of steps. */
  runHandle?: { isReported?: boolean };
  /** Whether its question leaves a paused answer, whose open calls are not sent any more. */
  isPauseAbandoned?: boolean;
  /** How many new messages the turn has; absent if they must be counted in the rows. */
  newMessages?: number;
  /** Stores its messages in steps, because they are long; absent if they are stored with its row. */
  messageSteps?: SteppedWork<void> | undefined;
  /** The state of a turn that was interrupted by a crash, restored from its log. */
  recovered?: {
    builder: MessageBuilder;
    frames: SseEventReader;
    bytes: number;
    /** Milliseconds in which unseen output may have been written. */
    unseenMs: number;
    /** Milliseconds of which nothing was stored before the crash. */
    lostMs: number;
    /** Whether its run may go on. */
    canRunContinue?: boolean;
  };
}
