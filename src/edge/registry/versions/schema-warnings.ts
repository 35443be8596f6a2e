import { findRejectedSchemaParts } from '../../claude/request/schema-faults.ts';
import { type JsonObject, toJsonText } from '../../kit/json/object.ts';
import { createToolForModel } from '../tools/edge-tools.ts';

/**
 * Warns of schemas that the API will refuse. The edge stores them all the same: the API judges, and may take more tomorrow.
 *
 * @param stored what is stored: its tools, and its `output_config`
 * @returns a sentence for each, in the API's words
 */
export function listSchemaWarnings({
  tools,
  output_config,
}: {
  tools: readonly JsonObject[];
  output_config?: unknown;
}): string[] {
  const up = tools.map(createToolForModel).filter((tool) => tool !== undefined);
  return findRejectedSchemaParts({ tools: up, output_config }).map(({ problem: says, path: at, tool }) => {
    const name = tool === undefined ? [] : [`the tool ${toJsonText(up[tool]?.name)}`];
    const where = [...name, ...(at === '' ? [] : [`at ${at}`])].join(', ');
    return `Claude will refuse requests with this: ${says}${where === '' ? '' : ` (${where})`}`;
  });
}
