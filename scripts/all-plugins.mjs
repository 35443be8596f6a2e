// Registers all plugins, as the Worker does, so that scripts know their settings and kinds of upstream, including the
// simulator's. It is JavaScript: the plugins' types need those of the Workers runtime, which scripts do not have.
import '../src/edge/with-all-plugins.ts';
import { addSimulatorAndTrialTools } from '../src/edge/development.ts';

addSimulatorAndTrialTools();
