import { addSimulatorAndTrialTools } from '#edge/development.ts';

// Each test says by itself whether its edge is a development server.
addSimulatorAndTrialTools();
