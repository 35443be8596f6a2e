import type { RequestedBetas } from '../../api-rules/betas.ts';
import type { JsonObject } from '../../api-rules/json.ts';
import type { Digest } from '../random/digest.ts';
import type { ThinkingBinding } from '../random/signatures.ts';
import type { SimulatedModel } from './models.ts';

export type CacheLifetime = '5m' | '1h';

/** What of the headers decides how a body is judged. */
export interface RequestProtocol extends RequestedBetas {
  version: '2023-06-01' | '2026-10-21';
  /** The end user's profile, if a header names it. */
  profile: string | undefined;
}

/** What decides how a body is judged. */
export interface RequestValidationContext {
  models: readonly SimulatedModel[];
  protocol: RequestProtocol;
  /** Milliseconds since the epoch. */
  now: number;
  /** The seed of signatures. */
  seed: Digest;
  /** Whose request it is, and whether these accounts are new. */
  account: string;
  newAccounts: boolean;
  /** Finds what the API refuses in the schemas of a request, in its words. */
  refusedSchemas: (request: JsonObject) => readonly { problem: string }[];
  /** Whether it is an item of a batch. */
  inBatch?: boolean;
}

/** A message with its content as blocks: a string has become one text block. */
export interface RequestMessage {
  role: 'user' | 'assistant' | 'system';
  blocks: JsonObject[];
  /** The effort of the answers after it. A message that says one needs no content. */
  effort: string | undefined;
}

/** How much of its thinking an answer shows; `updates` are short texts while it works, which a beta brings. */
type ThinkingDisplay = 'summarized' | 'omitted' | 'updates';

/** What thinking that is on has in common. */
interface EnabledThinkingOptions {
  display: ThinkingDisplay;
  /** What becomes of thinking that comes back after another conversation; undefined leaves it to the model. */
  onMismatch: 'error' | 'drop_block' | undefined;
}

export type ThinkingConfig =
  | { type: 'disabled'; between_tools?: true }
  | ({ type: 'enabled'; budgetTokens: number } & EnabledThinkingOptions)
  | ({ type: 'adaptive' } & EnabledThinkingOptions);

/** Reports that a thinking block was created elsewhere, and whether the model sees it anyway. */
export type ThinkingTransformation = {
  type: 'thinking_dropped' | 'thinking_mismatch_allowed';
  path: string;
  reason: string;
};

export interface ToolChoice {
  type: 'auto' | 'any' | 'tool' | 'none';
  /** The tool's name where the type is `tool`. */
  name: string | undefined;
  disableParallelToolUse: boolean;
}

/** What a prompt is made of, once it has been found valid. */
export interface ValidatedPrompt {
  model: SimulatedModel;
  tools: JsonObject[];
  system: JsonObject[];
  messages: RequestMessage[];
  /** The JSON schema that the answer has to satisfy. */
  outputSchema: JsonObject | undefined;
  automaticCaching: CacheLifetime | undefined;
}

/** A summary that was asked for. */
export interface CompactionRequest {
  /** What replaces the API's own summarization prompt. */
  instructions: string | undefined;
  /** The digests that the summarized conversation ends with: thinking made after it is bound to one of them. */
  prefixes: readonly string[];
  /** What leads from the request's tools to those at the end of the conversation. */
  toolChanges: JsonObject[];
}

/** A request to `/v1/messages` that has been found valid. */
export interface MessageRequest extends ValidatedPrompt {
  maxTokens: number;
  stream: boolean;
  stopSequences: string[];
  thinking: ThinkingConfig;
  effort: string | undefined;
  toolChoice: ToolChoice;
  /** The types of the safeguards that are asked for. */
  safeguards: string[];
  speed: string | undefined;
  /** The models that answer in its place what it refuses. */
  fallbacks: readonly SimulatedModel[];
  inferenceGeo: string | undefined;
  /** What the answer's thinking is bound to. */
  binding: ThinkingBinding;
  /** The thinking blocks of the request that were created elsewhere; undefined if the answer does not report them. */
  transformations: ThinkingTransformation[] | undefined;
  /** What the answer's summary is to be, for a request that asks for one. */
  compaction: CompactionRequest | undefined;
}
