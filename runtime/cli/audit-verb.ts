/** The verb `audit`. */
import { type Command, Option } from 'commander'
import type { AuditFlags } from './audit.ts'
import type { Perform } from './program.ts'

export function addAuditVerb(program: Command, perform: Perform): void {
  program
    .command('audit')
    .description('is the runtime as well as its latency says: of a Prometheus, or of a node')
    .option('--target <URL>', 'the Prometheus to ask, instead of that of metrics.yaml')
    .addOption(
      new Option('--node <URL>', 'ask a node for its own audit; no Prometheus').conflicts('target'),
    )
    .addOption(
      new Option('--output-format <FORMAT>', 'default text').choices(['text', 'json'] as const),
    )
    .option('--fail-on-critical', 'exit 1 when it is CRITICAL or COLLAPSE_RISK')
    .option('--strict-telemetry', 'exit 1 when telemetry is missing, instead of counting 0.0')
    .option('--report <FILE>', 'write the report, as JSON')
    .option('--init', 'write a commented metrics.yaml and stop')
    .addHelpText('after', auditHelp)
    .action((flags: AuditFlags) =>
      perform(async (invocation) => (await import('./audit.ts')).audit(invocation, flags)),
    )
}

const auditHelp = `
Here --config is the metrics file (default ./metrics.yaml).
Exit codes: 0 audited, 1 critical (with --fail-on-critical) or no audit could be made, 2 usage.`
