// Has a script know all plugins, as the Worker does: their settings, and the kinds of upstream that they have, the simulator's too. It has
// no types: those of what plugins import are the runtime's, which scripts do not have.
import '../src/edge/with-all-plugins.ts';
import { addSimulatorAndTrialTools } from '../src/edge/development.ts';

addSimulatorAndTrialTools();
