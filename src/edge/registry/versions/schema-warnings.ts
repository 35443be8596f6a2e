import { refusedSchemas } from '../../claude/request/refused-schemas.ts';
import { asText, type Json } from '../../kit/json/object.ts';
import { toldTool } from '../tools/edge-tools.ts';

/**
 * Warns of schemas that the API will refuse. The edge stores them all the same: the API judges, and may take more tomorrow.
 *
 * @param stored what is stored: its tools, and its `output_config`
 * @returns a sentence for each, in the API's words
 */
export function schemaWarnings({
  tools,
  output_config,
}: {
  tools: readonly Json[];
  output_config?: unknown;
}): string[] {
  const up = tools.map(toldTool).filter((tool) => tool !== undefined);
  return refusedSchemas({ tools: up, output_config }).map(({ says, at, tool }) => {
    const name = tool === undefined ? [] : [`the tool ${asText(up[tool]?.name)}`];
    const where = [...name, ...(at === '' ? [] : [`at ${at}`])].join(', ');
    return `Claude will refuse requests with this: ${says}${where === '' ? '' : ` (${where})`}`;
  });
}
