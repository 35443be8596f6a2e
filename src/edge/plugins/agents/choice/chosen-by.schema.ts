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
  shown: {
    chosen_by: z.createOptionalField(chosenBySchema, 'How the model was chosen, if the agent chooses its model.'),
  },
  shownInMessage: {
    chosen_by: z.createOptionalField(
      chosenBySchema,
      'How the model was chosen, if the agent chooses its model. Absent for restricted tokens.',
    ),
  },
} satisfies Dimension<ModelSelectionReason>;
