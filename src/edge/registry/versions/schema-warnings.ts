import { findSchemaFaults } from '../../claude/request/schema-faults.ts';
import { type Json, toText } from '../../kit/json/object.ts';
import { toModelTool } from '../tools/edge-tools.ts';

/**
 * Warns of schemas that the API will refuse. The edge stores them all the same: the API judges, and may take more tomorrow.
 *
 * @param stored what is stored: its tools, and its `output_config`
 * @returns a sentence for each, in the API's words
 */
export function findSchemaWarnings({
  tools,
  output_config,
}: {
  tools: readonly Json[];
  output_config?: unknown;
}): string[] {
  const up = tools.map(toModelTool).filter((tool) => tool !== undefined);
  return findSchemaFaults({ tools: up, output_config }).map(({ problem: says, path: at, tool }) => {
    const name = tool === undefined ? [] : [`the tool ${toText(up[tool]?.name)}`];
    const where = [...name, ...(at === '' ? [] : [`at ${at}`])].join(', ');
    return `Claude will refuse requests with this: ${says}${where === '' ? '' : ` (${where})`}`;
  });
}
