// Has a script know all rooms, as the Worker does: their settings, and the kinds of upstream that they have, the simulator's too. It has
// no types: those of what rooms import are the runtime's, which scripts do not have.
import '../src/edge/with-all-rooms.ts';
import { addSimulator } from '../src/edge/development.ts';

addSimulator();
