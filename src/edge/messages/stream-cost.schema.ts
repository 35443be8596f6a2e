import type { RequestFieldDefinition } from '../claude/request/field-definition.ts';
import * as z from '../kit/http/zod.ts';

/**
 * Requests comments about the cost after the last event of a stream. They are sent only on request, because some parsers take each
 * line, or each text between two empty lines, for an event.
 */
export const STREAM_COST_MEMBER: RequestFieldDefinition<'true'> = {
  schema: z.literal('true', { error: 'Input should be true' }),
  header: 'sluice-stream-cost',
  ofHeader: (text) => text,
  open: ['bound'],
};
