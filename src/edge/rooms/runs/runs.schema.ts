import { namedSecret } from '../../gate/settings/tool-secrets.ts';
import { fieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { refSchema } from '../../named/versions/versions.schema.ts';
import type { RequestMembers } from '../../talk/contracts/member.ts';
import { runLimits } from '../../talk/contracts/run-limits.schema.ts';

/** Headers that the edge sets itself, or that belong to the connection. */
const RESERVED =
  /^(webhook-.*|host|content-(length|type|encoding)|connection|transfer-encoding|te|trailer|expect|upgrade|keep-alive|proxy-.*|cf-.*|user-agent)$/;

const headerValue = z.union(
  [
    z.string().check(z.maxLength(4_096), z.regex(/^[\x20-\x7e]*$/, 'must be printable ASCII')),
    z.strictObject(namedSecret),
  ],
  { error: 'must be a text, or {"secret": "NAME"} for the setting TOOL_SECRET_NAME' },
);

const approval = z.optionally(
  z.union(
    [
      z.literal('always'),
      z.strictObject({
        over: z.strictObject({ field: z.string().check(z.minLength(1), z.maxLength(256)), above: z.number() }),
      }),
    ],
    { error: 'must be "always", or {"over": {"field": "amount", "above": 100}}' },
  ),
  'A person must approve each call, or those whose `field` (a number in the input) is above a figure, or is no number.',
);

/** Members that all tools called over HTTP may have. */
const overHttp = {
  headers: z.optionally(
    z.catchall(z.object({}), headerValue).check(
      z.refine((headers) => Object.keys(headers).length <= 20, 'must be at most 20 headers'),
      z.refine(
        (headers) =>
          Object.keys(headers).every((name) => /^[a-z0-9-]{1,64}$/i.test(name) && !RESERVED.test(name.toLowerCase())),
        'must be names of headers that the edge does not set itself',
      ),
    ),
    'Further headers of the call; {"secret": "NAME"} is the value of the setting TOOL_SECRET_NAME.',
  ),
  timeout_seconds: z.optionally(
    z.int().check(z.gte(1), z.lte(600)),
    'How long a call may take, in seconds; default 30.',
  ),
  once: z.optionally(
    z.boolean(),
    'The call is never made a second time, also where a crash hides whether it was made.',
  ),
  approval,
};
const address = z.string().check(z.maxLength(2_048));

/** How the edge calls a tool. */
const runSchema = z.strictObject({
  url: z.described(address, 'Where the call is posted; its host must be in TOOL_HOSTS.'),
  ...overHttp,
});
export type HttpRun = z.output<typeof runSchema>;

/** A tool that is an agent: its task goes to a conversation of its own. */
const agentRunSchema = z.strictObject({
  agent: z.described(
    refSchema('agent'),
    'The agent that works on the task, in a conversation of its own; no scope is needed.',
  ),
  timeout_seconds: z.optionally(
    z.int().check(z.gte(1), z.lte(86_400)),
    'After so many seconds it is stopped. Default: what is left of the run’s `max_seconds`.',
  ),
  approval,
});
export type AgentRun = z.output<typeof agentRunSchema>;

/** How the edge calls a tool of an MCP server. */
const mcpRunSchema = z.strictObject({
  mcp: z.described(address, 'An MCP server, by Streamable HTTP; its host must be in TOOL_HOSTS.'),
  tool: z.described(z.string().check(z.minLength(1), z.maxLength(1_024)), 'What the server itself calls the tool.'),
  ...overHttp,
});
export type McpRun = z.output<typeof mcpRunSchema>;

/** An MCP server. When it is stored, its tools are listed and replace it. */
const mcpServerSchema = z.strictObject({
  mcp: mcpRunSchema.shape.mcp,
  tools: z.optionally(
    z.array(z.string()).check(z.minLength(1)),
    'Which of its tools, by its own names; all where it is absent.',
  ),
  ...overHttp,
});
export type McpServerRun = z.output<typeof mcpServerSchema>;

/** How the edge calls a tool that the Worker's own code defines. Absent members are as the code says. */
const workerRunSchema = z.strictObject({
  worker: z.literal(true),
  timeout_seconds: overHttp.timeout_seconds,
  once: overHttp.once,
  approval,
});

/** How the edge calls a tool over HTTP, or that the Worker's own code defines the tool. */
export const anyRunSchema = z.union([
  z.described(z.literal('worker'), 'A tool of the Worker’s own code, by its name; no scope is needed.'),
  workerRunSchema,
  runSchema,
  agentRunSchema,
]);

/** How a call is made: over HTTP, by an MCP server, as the task of an agent, or in the Worker itself. */
export type ToolRun = HttpRun | McpRun | AgentRun | z.output<typeof workerRunSchema>;

let namesInRun: ReadonlySet<string> | undefined;
/** Refuses in the tool around a `run` what belongs into it: it goes up, where the API refuses these in each request. */
function besideRun({ value, issues }: z.core.ParsePayload<{ run: unknown; [name: string]: unknown }>): void {
  namesInRun ??= new Set(
    [runSchema, agentRunSchema, mcpRunSchema, mcpServerSchema, workerRunSchema].flatMap(({ shape }) =>
      Object.keys(shape),
    ),
  );
  const name = Object.keys(value).find((one) => namesInRun?.has(one));
  if (name === undefined) return;
  const message = `it has no effect beside \`run\`. Put it into \`run\`${value.run === 'worker' ? `: {"worker": true, "${name}": …}` : ''}`;
  issues.push({ code: 'custom', input: value, message, path: [name] });
}

const goesUp = {
  name: z.string().check(z.regex(/^[a-zA-Z0-9_-]{1,128}$/, 'must be 1 to 128 letters, digits, _ and -')),
  description: z.optional(z.string()),
};
const schemaOfObject = z.looseObject(
  { type: z.literal('object', { error: fieldError("Input should be 'object'") }) },
  { error: fieldError('Input should be a JSON schema: an object') },
);
const withSchema = { input_schema: schemaOfObject };
const mayHaveSchema = { input_schema: z.optional(schemaOfObject) };

export const clientTool = z.looseObject({ ...goesUp, ...withSchema });
/** A tool that the edge calls over HTTP. */
export const runTool = z.looseObject({ ...goesUp, ...withSchema, run: runSchema }).check(besideRun);
export const agentTool = z.looseObject({ ...goesUp, ...mayHaveSchema, run: agentRunSchema }).check(besideRun);
/** A tool that the Worker's own code defines, which says the rest: as it says, or otherwise called. */
export const ownTool = z.looseObject({ ...goesUp, run: z.literal('worker') }).check(besideRun);
export const workerToolEntry = z.looseObject({ ...goesUp, run: workerRunSchema }).check(besideRun);
/** A tool of an MCP server, and a server with all of its tools. Both occur only in stored prefixes and agents. */
export const mcpTool = z.looseObject({ ...goesUp, ...withSchema, run: mcpRunSchema }).check(besideRun);
export const mcpServer = z.looseObject({ ...goesUp, run: mcpServerSchema }).check(besideRun);

const limit = { open: ['bound'], isLimit: true } as const;
/** What a request says of its run. */
export const RUN_MEMBERS: RequestMembers = {
  ...Object.fromEntries(Object.entries(runLimits.shape).map(([name, schema]) => [name, { ...limit, schema }])),
  on_pending_tools: {
    schema: z.optionally(
      z.enum(['refuse', 'cancel'], { error: 'Input should be refuse or cancel' }),
      '`cancel`: calls of your own tools that have no result are answered with an error, so that a plain message goes on; default `refuse`: it is a 400.',
    ),
    open: ['bound', 'agent'],
    goesUp: true,
  },
};
