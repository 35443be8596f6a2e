import { modelByLabel, modelName } from '../../classify/model-by-label.schema.ts';
import { messagesRequest } from '../../claude/messages.schema.ts';
import type { RequestFieldDefinitions } from '../../claude/request/field-definition.ts';
import { secretNameShape } from '../../config/tool-secrets.ts';
import { historySetting } from '../../conversations/history/history.schema.ts';
import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { fallbackModels } from '../../money/budget/limits.schema.ts';
import { cacheLifetime, prefixRef } from '../../registry/prefixes/prefixes.schema.ts';
import { runLimits } from '../../registry/tools/run-limits.schema.ts';
import { agentRef, createPutSchemas } from '../../registry/versions/versions.schema.ts';

/** The maximum size of a stored version in bytes. Each conversation stores its own copy. */
export const MAX_AGENT_BYTES = 512 * 1024;

/** The field by which a request chooses among its agent's tools. */
export const narrowedTools = z.createOptionalField(
  z
    .array(
      z.union(
        [
          z.string(),
          z.strictObject({
            name: z.addDescription(z.string(), 'The name of one of the agent’s tools.'),
            approval: z.createOptionalField(
              z.literal('always'),
              '`always`: a person must approve each call of this tool.',
            ),
          }),
        ],
        {
          error: 'Input should be the name of a tool of the agent, or {"name": …, "approval": "always"}',
        },
      ),
      { error: 'Input should be a list of tools of the agent' },
    )
    .check(z.maxLength(1_000)),
  'The agent’s tools that are offered to the model, by name. With `{"name": …, "approval": "always"}` each call of a tool waits for approval. Default: all tools.',
);

/** The parameters of a request that name its agent. */
export const AGENT_MEMBERS: RequestFieldDefinitions = {
  agent: {
    schema: z.createOptionalField(
      agentRef,
      'The stored agent that responds: `name` or `name@version`; also as the header `sluice-agent`. A conversation keeps the version. Without a conversation, the agent cannot use tools with `run`. The agent’s model, `max_tokens` and thinking apply. The request’s `system` and `tools` are appended, and its limits can only lower the agent’s.',
    ),
    header: 'sluice-agent',
    mayBeNull: true,
    open: ['bound', 'count'],
  },
  agent_tools: {
    schema: narrowedTools,
    inPrompt: true,
    open: ['count'],
    withoutAgent: 'supported only with an agent. Send `agent`, or remove this field.',
  },
};

const anything = z.looseObject({});
const typeName = z.string({ error: createFieldError('Input should be a valid string') }).check(z.minLength(1));
const thinking = z
  .looseObject({
    type: z.addDescription(typeName, '`adaptive`, `enabled` (which needs `budget_tokens`), or `disabled`.'),
    budget_tokens: z.createOptionalField(z.int(), 'The most tokens of thinking, less than `max_tokens`.'),
  })
  .check(
    z.refine(({ type, budget_tokens }) => type !== 'enabled' || budget_tokens !== undefined, {
      path: ['budget_tokens'],
      error: 'Field required',
    }),
  );
const toolChoice = z.looseObject({
  type: z.addDescription(typeName, '`auto`, `any`, `tool` (which needs the `name` of a tool), or `none`.'),
});
const contextEdit = z.looseObject({
  type: z.addDescription(typeName, 'The kind of edit, such as `clear_tool_uses_20250919`.'),
});
const number = z.optional(z.number());
const word = z.optional(z.string().check(z.minLength(1), z.maxLength(64)));

/** An MCP server that the API itself calls. */
const calledServer = z.looseObject({
  type: z.addDescription(typeName, 'How the server is reached: `url`.'),
  name: z.addDescription(z.string(), 'The name by which `tools` refers to the server.'),
  url: z.addDescription(z.string().check(z.maxLength(2_048)), 'The HTTPS URL of the server, at most 2,048 characters.'),
  authorization_token: z.createOptionalField(
    z.strictObject(secretNameShape, {
      error:
        'must be {"secret": "NAME"}: a token itself is never stored. The operator sets TOOL_SECRET_NAME=host=token',
    }),
    '`{"secret": "NAME"}` refers to the setting `TOOL_SECRET_NAME`, whose host must be the host of `url`. Storing it needs the scope `tools`.',
  ),
});
export type AgentMcpServer = z.output<typeof calledServer>;

/** The parts of a version. Only the API checks the rest. */
const agentFields = z
  .strictObject({
    description: z.createOptionalField(
      z.string().check(z.maxLength(1_000)),
      'What the agent is for, at most 1,000 characters. It is shown in lists and never sent to the model.',
    ),
    model: z.addDescription(
      z.union([modelName, modelByLabel], {
        error: createFieldError(
          'Input should be a model, or {"by": …, "models": {…}, "otherwise": …} to choose one by a classifier',
        ),
      }),
      'The model of the agent, which overrides the request’s; or how a classifier chooses it.',
    ),
    max_tokens: z.addDescription(
      messagesRequest.shape.max_tokens,
      'The most output tokens of a response, overriding the request’s.',
    ),
    system: z.createOptionalField(
      z.union(
        [
          z.string(),
          z.array(
            z.looseObject({
              type: z.addDescription(z.literal('text'), 'Always `text`.'),
              text: z.addDescription(z.string().check(z.minLength(1)), 'The text of the block. It must not be empty.'),
            }),
          ),
        ],
        {
          error: 'Input should be a string or a list of text blocks',
        },
      ),
      'The system prompt: a string, or a list of text blocks. A request’s own `system` is appended.',
    ),
    prefix: z.createOptionalField(
      prefixRef,
      'The stored prefix (`name` or `name@version`) whose system prompt and tools are copied into the agent when it is stored, instead of `system` and `tools`.',
    ),
    tools: z.createOptionalField(
      z.array(anything),
      'Tools of the agent. Sluice calls those with `run`; storing one with a URL needs the scope `tools`. A request’s own tools are appended.',
    ),
    mcp_servers: z.createOptionalField(
      z.array(calledServer).check(z.maxLength(20)),
      'MCP servers that the Claude API calls. `agent_tools` offers them by name, like tools.',
    ),
    container: z.createOptionalField(
      z.strictObject(
        {
          skills: z.addDescription(
            z.array(anything).check(z.maxLength(20)),
            'Skills, as in Anthropic’s API; at most 20.',
          ),
        },
        { error: 'Input should be {"skills": […]}: an agent names no container by its id' },
      ),
      'The skills that are loaded into each container of the agent.',
    ),
    fallbacks: z.createOptionalField(
      z.union(
        [
          z.literal('default'),
          z
            .array(z.looseObject({ model: z.addDescription(z.string(), 'The id of the model to try.') }))
            .check(z.maxLength(20)),
        ],
        {
          error: 'Input should be "default", or a list of {"model": …}',
        },
      ),
      'Models that the Claude API tries if one declines to answer, or `default`. Sluice’s own fallbacks are `fallback_models`.',
    ),
    betas: z.createOptionalField(
      z.array(z.string().check(z.regex(/^[\w.:-]{1,64}$/, 'must be the name of a beta'))).check(z.maxLength(20)),
      'Beta features to add to the header `anthropic-beta` of each request; at most 20.',
    ),
    thinking: z.createOptionalField(
      thinking,
      'Extended thinking, as in Anthropic’s API: for example `{"type": "adaptive"}`.',
    ),
    tool_choice: z.createOptionalField(
      toolChoice,
      'How the model uses tools, as in Anthropic’s API: for example `{"type": "any"}`.',
    ),
    output_config: z.createOptionalField(
      z.looseObject({
        effort: z.createOptionalField(
          z.string().check(z.minLength(1)),
          'How much effort the model spends: `low`, `medium`, `high`, `xhigh` or `max`, as far as the model supports them.',
        ),
      }),
      'The output format and effort, as in Anthropic’s API.',
    ),
    context_management: z.createOptionalField(
      z.looseObject({
        edits: z.createOptionalField(
          z.array(contextEdit),
          'The edits, as in Anthropic’s API, in the order in which they apply.',
        ),
      }),
      'How the API shortens the context before the model reads it, as in Anthropic’s API.',
    ),
    stop_sequences: z.createOptionalField(
      z.array(z.string().check(z.regex(/\S/, 'must have more than white space'))),
      'Texts at which generation stops. Each must contain more than white space.',
    ),
    temperature: z.addDescription(number, 'Sampling temperature, from 0 to 1, for models that support it.'),
    top_p: z.addDescription(
      number,
      'Nucleus sampling: the cumulative probability, from 0 to 1, for models that support it.',
    ),
    top_k: z.addDescription(number, 'Samples only from the `top_k` likeliest tokens, for models that support it.'),
    service_tier: z.addDescription(word, 'The service tier, as in Anthropic’s API: `auto` or `standard_only`.'),
    speed: z.addDescription(
      word,
      'The speed of generation, as in Anthropic’s API: `standard` or `fast`. `fast` has its own prices.',
    ),
    inference_geo: z.addDescription(word, 'Where inference runs, as in Anthropic’s API: `us` or `global`.'),
    fallback_models: z.createOptionalField(
      fallbackModels,
      'Models that Sluice tries, in this order, if the agent’s model is overloaded or the budget does not cover it.',
    ),
    cache_ttl: z.createOptionalField(
      cacheLifetime,
      'How long the upstream caches the agent’s tools and system prompt after each use: `5m` (5 minutes) or `1h` (1 hour). Default: that of its `prefix`, or `5m`.',
    ),
    history: z.createOptionalField(
      historySetting,
      'How histories that grow too long are shortened, for conversations that do not set `history` themselves.',
    ),
    limits: z.createOptionalField(
      z.strictObject(runLimits.shape),
      'The limits of each of the agent’s runs. A request can lower them but not raise them.',
    ),
    approvers: z.addDescription(
      z._default(z.enum(['owner', 'admin'], { error: "Input should be 'owner' or 'admin'" }), 'owner'),
      'Who decides on calls that need approval: the account that owns the conversation (`owner`), or only admins (`admin`).',
    ),
  })
  .check(
    z.refine(
      ({ thinking, max_tokens, betas = [] }) =>
        (thinking?.budget_tokens ?? 0) < max_tokens || betas.some((name) => name.startsWith('interleaved-thinking-')),
      { path: ['thinking', 'budget_tokens'], error: 'must be below max_tokens' },
    ),
  );
export type AgentFields = z.output<typeof agentFields>;

/** The two bodies of `PUT /agents/:name`. */
export const putAgent = createPutSchemas(agentFields, agentRef);
