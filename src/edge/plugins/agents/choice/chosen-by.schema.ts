import { chosenBySchema, type ModelSelectionReason } from '../../../conversations/history/storage/chosen-by.schema.ts';
import * as z from '../../../kit/http/zod.ts';
import type { Dimension } from '../../../money/contracts/dimensions.ts';

declare module '../../../money/contracts/dimensions.ts' {
  interface PluginRowFields {
    chosen_by?: ModelSelectionReason;
  }
}

/** How the model was chosen. A label has the place of the request that it is for. */
export const OF_CHOICE = {
  name: 'chosen_by',
  placeOf: ({ request_id }) => request_id,
  shown: { chosen_by: z.createOptionalField(chosenBySchema, 'Where its agent chooses its model: how it was chosen.') },
  shownInMessage: {
    chosen_by: z.createOptionalField(
      chosenBySchema,
      'Of an answer whose agent chooses its model: how it was chosen. A restricted token is not told.',
    ),
  },
} satisfies Dimension<ModelSelectionReason>;
