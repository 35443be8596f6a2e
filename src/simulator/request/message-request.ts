import type { RequestedBetas } from '../../api-rules/betas.ts';
import type { JsonObject } from '../../api-rules/json.ts';
import type { Digest } from '../random/digest.ts';
import type { ThinkingBinding } from '../random/signatures.ts';
import type { SimulatedModel } from './models.ts';

export type CacheLifetime = '5m' | '1h';

/** The headers that determine how a body is validated. */
export interface RequestProtocol extends RequestedBetas {
  version: '2023-06-01' | '2026-10-21';
  /** The end user's profile, if a header names it. */
  profile: string | undefined;
}

/** The context in which a body is validated. */
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
  /** The effort of the answers after it. A message with an effort needs no content. */
  effort: string | undefined;
}

/** How much of its thinking an answer shows; `updates` are short texts while it works, which a beta brings. */
type ThinkingDisplay = 'summarized' | 'omitted' | 'updates';

/** The options of enabled thinking, whatever its type. */
interface EnabledThinkingOptions {
  display: ThinkingDisplay;
  /** How to handle returned thinking of another conversation; undefined uses the model's default. */
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

/** The parts of a validated prompt. */
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
  /** The text that replaces the API's own summarization prompt. */
  instructions: string | undefined;
  /** The digests that the summarized conversation ends with: thinking made after it is bound to one of them. */
  prefixes: readonly string[];
  /** The changes from the request's tools to those at the end of the conversation. */
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
  /** The types of the requested safeguards. */
  safeguards: string[];
  speed: string | undefined;
  /** The models that answer in its place what it refuses. */
  fallbacks: readonly SimulatedModel[];
  inferenceGeo: string | undefined;
  /** The context to which the answer's thinking is bound. */
  binding: ThinkingBinding;
  /** The thinking blocks of the request that were created elsewhere; undefined if the answer does not report them. */
  transformations: ThinkingTransformation[] | undefined;
  /** The options of the summary, for a request that requests one. */
  compaction: CompactionRequest | undefined;
}
