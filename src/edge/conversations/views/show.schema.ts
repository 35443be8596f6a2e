import type { RequestFieldDefinition } from '../../claude/request/field-definition.ts';
import * as z from '../../kit/http/zod.ts';

/** How much of an answer its caller wants to see. */
export const SHOW_MEMBER: RequestFieldDefinition<string> = {
  schema: z.createOptionalField(
    z.enum(['all', 'text'], { error: 'Input should be all or text' }),
    '`text` omits blocks that some clients cannot read, in conversations only; also as the header `sluice-show`. Text, thinking and calls of your own tools are included. Omitted blocks are still stored, and you can send the history without them. Default: `all`.',
  ),
  header: 'sluice-show',
  mayBeNull: true,
  open: ['bound'],
  // Only in conversations: there, Sluice stores the hidden blocks, which the API needs in the next request. A stateless caller
  // would lose them.
  keeps: 'the hidden content',
};
