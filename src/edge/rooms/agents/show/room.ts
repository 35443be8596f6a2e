import * as z from '../../../kit/http/zod.ts';
import type { Room } from '../../room.ts';
import { isReadable, readableBlocks } from './readable-blocks.ts';

/** Answers of which a part is shown. */
export const showRoom: Room = {
  name: 'show',
  view: { name: 'text', turns: 'turn_text_', has: isReadable, of: readableBlocks },
  members: {
    show: {
      schema: z.optionally(
        z.enum(['all', 'text'], { error: 'Input should be all or text' }),
        'In a conversation, `text` hides from the answer what some clients cannot read; also as the header `sluice-show`. Text, thinking and calls of your own tools stay. What is hidden is kept, and a history that comes back without it is the same history. Default `all`.',
      ),
      header: 'sluice-show',
      mayBeNull: true,
      open: ['bound'],
      // Nobody else would have the hidden blocks, which the API needs in the next request.
      keeps: 'what is hidden',
    },
  },
};
