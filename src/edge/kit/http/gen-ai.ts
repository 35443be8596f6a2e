/**
 * Adds the field names of OpenTelemetry's GenAI conventions to a log line, so that other systems understand it without a
 * mapping.
 */
import { STATUS_BY_TYPE } from './errors.ts';

/** The fields of a log line about a call to a model. */
export interface ModelCallLogFields {
  'gen_ai.request.model'?: string | undefined;
  'gen_ai.provider.name'?: string | undefined;
  model?: string | undefined;
  conversation?: string | undefined;
  agent?: string | undefined;
  error_type?: string | undefined;
  ttft_ms?: number | undefined;
  tokens?: { input: number; output: number; cache_read: number; cache_write: number } | undefined;
}

/** How the conventions name the services that have an API of their own; all others are `anthropic`. */
const PROVIDERS: Readonly<Record<string, string>> = {
  bedrock: 'aws.bedrock',
  vertex: 'gcp.vertex_ai',
  foundry: 'azure.ai.inference',
};

/**
 * Records the provider and the requested model, before the line names the model that answered.
 *
 * @param kind the kind of the upstream, if there are several
 */
export function recordRequestedModel(line: ModelCallLogFields, kind: unknown): void {
  line['gen_ai.request.model'] ??= line.model;
  line['gen_ai.provider.name'] = PROVIDERS[String(kind)];
}

/** @returns the attributes of a line that is about a call of a model; none for any other line */
export function createGenAiAttributes(line: ModelCallLogFields): object {
  const { model, tokens, conversation, agent, error_type, ttft_ms } = line;
  if (tokens === undefined && ttft_ms === undefined) return {};
  return {
    'gen_ai.operation.name': agent === undefined ? 'chat' : 'invoke_agent',
    'gen_ai.provider.name': line['gen_ai.provider.name'] ?? 'anthropic',
    'gen_ai.request.model': line['gen_ai.request.model'] ?? model,
    'gen_ai.response.model': model,
    'gen_ai.conversation.id': conversation,
    'gen_ai.agent.name': agent?.split('@', 1)[0],
    ...(tokens && {
      // OpenTelemetry's conventions for generative AI count tokens that are read from or written to the cache as input tokens,
      // while the Claude API reports them separately. Add them.
      'gen_ai.usage.input_tokens': tokens.input + tokens.cache_read + tokens.cache_write,
      'gen_ai.usage.output_tokens': tokens.output,
      'gen_ai.usage.cache_read.input_tokens': tokens.cache_read,
      'gen_ai.usage.cache_creation.input_tokens': tokens.cache_write,
    }),
    'error.type': error_type && removeErrorReason(error_type),
  };
}

/** The values of `error.type`, beside `_OTHER`: those of errors, and those that only the log has. Systems make a series of each. */
export const ERROR_TYPES: ReadonlySet<string> = new Set([
  ...Object.keys(STATUS_BY_TYPE),
  'misconfigured',
  'account_blocked',
  'upstream_auth',
  'upstream_timeout',
  'upstream_unreachable',
  'upstream_cut',
  'upstream_unreadable',
  'upstream_silent',
  'upstream_redirect',
  'upstream_encoding',
  'upstream_no_answer',
  'upstream_no_headers',
  'upstream_error',
  'upstreams_busy',
  'client_gone',
  'stopped',
  'interrupted',
  'conversation_interrupted',
  'conversation_cut',
  'damaged_row',
  'account_damaged',
  'batch_damaged',
  'conversation_damaged',
  'inbox_damaged',
  'pool_damaged',
  'account_unreachable',
  'batch_unreachable',
  'conversation_unreachable',
  'inbox_unreachable',
  'pool_unreachable',
  'body_room',
  'disk_full',
  'followers',
  'jwks_unavailable',
  'turnstile_unreachable',
  'kv_unavailable',
  'visitor_brake',
  'batch_unknown',
  'batch_upload',
  'batch_late',
  'batch_results',
  'no_answer',
  'model_refused',
  'model_too_long',
  'webhook_signature_missing',
  'webhook_signature_forged',
  'webhook_signature_stale',
  'webhook_unreadable',
  'no_request_of_run',
  'internal',
]);
/** The conventions' value for what is not in the list. */
const OTHER_TYPE = '_OTHER';

/** @param logged the `error_type` of a line, which may have a reason behind a colon */
function removeErrorReason(logged: string): string {
  const type = logged.split(':', 1)[0] ?? '';
  if (/^upstream_\d{3}$/.test(type)) return 'upstream_error';
  return ERROR_TYPES.has(type) ? type : OTHER_TYPE;
}
