import * as z from '../../../kit/http/zod.ts';
import { forwardedToolShape, rejectRunFieldsBesideRun, withSchema } from '../../../registry/tools/tools.schema.ts';
import { address, overHttp } from '../runs.schema.ts';

/** How the edge calls a tool of an MCP server. */
export const mcpRunSchema = z.strictObject({
  mcp: z.addDescription(address, 'An MCP server, by Streamable HTTP; its host must be in TOOL_HOSTS.'),
  tool: z.addDescription(
    z.string().check(z.minLength(1), z.maxLength(1_024)),
    'What the server itself calls the tool.',
  ),
  ...overHttp,
});
export type McpToolRunConfig = z.output<typeof mcpRunSchema>;

/** An MCP server. When it is stored, its tools are listed and replace it. */
export const mcpServerSchema = z.strictObject({
  mcp: mcpRunSchema.shape.mcp,
  tools: z.createOptionalField(
    z.array(z.string()).check(z.minLength(1)),
    'Which of its tools, by its own names; all where it is absent.',
  ),
  ...overHttp,
});
export type McpServerRun = z.output<typeof mcpServerSchema>;

/** A tool of an MCP server, and a server with all of its tools. Both occur only in stored prefixes and agents. */
export const mcpTool = z
  .looseObject({ ...forwardedToolShape, ...withSchema, run: mcpRunSchema })
  .check(rejectRunFieldsBesideRun);
export const mcpServer = z.looseObject({ ...forwardedToolShape, run: mcpServerSchema }).check(rejectRunFieldsBesideRun);
