/** Names what a log line says as the GenAI conventions of OpenTelemetry do, so that other systems find it without a mapping. */

/** The part of a log line that tells of a call of a model. */
export interface ModelCallLine {
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
 * Notes who has answered, and which model was asked for, before the line names the one that answered.
 *
 * @param kind the kind of the upstream, if there are several
 */
export function noteAsked(line: ModelCallLine, kind: unknown): void {
  line['gen_ai.request.model'] ??= line.model;
  line['gen_ai.provider.name'] = PROVIDERS[String(kind)];
}

/** @returns the attributes of a line that is about a call of a model; none for any other line */
export function genAiOf(line: ModelCallLine): object {
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
      // The conventions count what was read from the cache, and written to it, as input.
      'gen_ai.usage.input_tokens': tokens.input + tokens.cache_read + tokens.cache_write,
      'gen_ai.usage.output_tokens': tokens.output,
      'gen_ai.usage.cache_read.input_tokens': tokens.cache_read,
      'gen_ai.usage.cache_creation.input_tokens': tokens.cache_write,
    }),
    'error.type': error_type,
  };
}
