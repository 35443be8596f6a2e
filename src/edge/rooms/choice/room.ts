import type { Dimension } from '../../money/contracts/about.ts';
import type { Room } from '../room.ts';
import { type ChosenBy, chosenByShown } from './chosen-by.schema.ts';

/** How the model was chosen. A label has the place of the request that it is for. */
export const OF_CHOICE: Dimension<ChosenBy> = {
  name: 'chosenBy',
  placeOf: ({ request_id }) => request_id,
  ...chosenByShown,
};

/** The choice of a model by a label. */
export const choiceRoom: Room = { name: 'choice', dimensions: [OF_CHOICE] };
