/** Defines tools that run in this page, to show how a call looks. */
import type { Tool, ToolResultBlockParam, ToolUseBlock } from '@anthropic-ai/sdk/resources/messages';
import type { MessageRequest } from '../../../client/index.ts';
import { edgeToolNames } from '../../edge/client.ts';
import { hasEdgeTools, hasPageTools } from './options.ts';

interface BrowserTool extends Tool {
  runTool(input: Record<string, unknown>): string;
}

const PAGE_TOOLS: readonly BrowserTool[] = [
  {
    name: 'get_time',
    description: 'The current date and time in a time zone.',
    input_schema: {
      type: 'object',
      properties: { time_zone: { type: 'string', enum: ['UTC', 'Europe/Zurich', 'America/New_York', 'Asia/Tokyo'] } },
      required: ['time_zone'],
    },
    runTool: ({ time_zone }) =>
      new Intl.DateTimeFormat('en', { dateStyle: 'full', timeStyle: 'long', timeZone: String(time_zone) }).format(),
  },
  {
    name: 'roll_dice',
    description: 'Rolls dice with six sides and tells what came up.',
    input_schema: {
      type: 'object',
      properties: { dice: { type: 'integer', minimum: 1, maximum: 10 } },
      required: ['dice'],
    },
    runTool: ({ dice }) => {
      const rolled = crypto.getRandomValues(new Uint32Array(Math.min(10, Math.max(1, Number(dice) || 1))));
      return [...rolled].map((number) => (number % 6) + 1).join(', ');
    },
  },
];

const pageToolDefinitions: Tool[] = PAGE_TOOLS.map(({ runTool: _, ...definition }) => definition);

/**
 * @param hasAgent whether an agent answers, which has its own tools
 * @returns the tools of the next question: the page's, and the names of the edge's own tools
 */
export function listToolsForNextQuestion(hasAgent: boolean): NonNullable<MessageRequest['tools']> {
  if (hasAgent) return [];
  const own = edgeToolNames.value.map((name) => ({ name, run: 'worker' as const }));
  return [...(hasPageTools.value ? pageToolDefinitions : []), ...(hasEdgeTools.value ? own : [])];
}

/** @returns whether a message calls tools, and all of them are tools of this page */
export function hasOnlyPageToolCalls(content: readonly { type: string }[]): boolean {
  const calls = content.filter(isToolUseBlock);
  return calls.length > 0 && calls.every((call) => PAGE_TOOLS.some(({ name }) => name === call.name));
}

/** @returns the results of a message's calls; a call of an unknown tool gets an error */
export function runPageTools(content: readonly { type: string }[]): ToolResultBlockParam[] {
  return content.filter(isToolUseBlock).map((call) => {
    const tool = PAGE_TOOLS.find(({ name }) => name === call.name);
    const result: ToolResultBlockParam = { type: 'tool_result', tool_use_id: call.id };
    try {
      if (!tool) throw new Error('This call was not answered: its tool does not run where the conversation continued.');
      return { ...result, content: tool.runTool(call.input as Record<string, unknown>) };
    } catch (thrown) {
      return { ...result, content: thrown instanceof Error ? thrown.message : String(thrown), is_error: true };
    }
  });
}

function isToolUseBlock(block: { type: string }): block is ToolUseBlock {
  return block.type === 'tool_use';
}
