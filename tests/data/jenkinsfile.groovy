// Runs a declarative Jenkinsfile in real Groovy (2.4, Jenkins' own line) against stand-ins for
// Jenkins' steps, and prints as JSON what would be run.  A directive or step that is not known
// here is an error, as is one in the wrong place.
//
// Arguments: the Jenkinsfile, then scenarios: change, main, schedule, or promote=CHANNEL.
import groovy.json.JsonOutput

class Run { // What one run of the pipeline does.
    String scenario
    List stages = []
    Map stage = null
    Map env = [WORKSPACE: '@WORKSPACE@', PATH: '@PATH@', BRANCH_NAME: 'main']
    Map params = [PROMOTE_TO: 'nothing']
    List crons = []
    Map environment = [:]
    List post = []
    List declared = []

    static void inside(Object delegate, Closure body) {
        body.delegate = delegate
        body.resolveStrategy = Closure.DELEGATE_FIRST
        body.call()
    }
}

class Environment { // NAME = value
    Run run
    Map into
    def propertyMissing(String name, Object value) { into[name] = value.toString() }
    def credentials(String id) { "credential:$id".toString() }
}

class Conditions {
    Run run
    List found = []
    private boolean all(Closure body) { def c = new Conditions(run: run); Run.inside(c, body); assert c.found; c.found.every { it } }
    private boolean any(Closure body) { def c = new Conditions(run: run); Run.inside(c, body); assert c.found; c.found.any { it } }
    void branch(String name) { found << (run.env.BRANCH_NAME == name) }
    void changeRequest() { found << (run.scenario == 'change') }
    void triggeredBy(String cause) { assert cause == 'TimerTrigger'; found << (run.scenario == 'schedule') }
    void allOf(Closure body) { found << all(body) }
    void anyOf(Closure body) { found << any(body) }
    void not(Closure body) { found << !all(body) }
    void expression(Closure body) { found << (body.call() as boolean) }
}

class Steps {
    Run run
    List into
    Map bound = [:]
    void sh(String script) { into << [sh: script, bound: bound.clone()] }
    void junit(Map options) { into << [junit: options.testResults] }
    void archiveArtifacts(Map options) { into << [archive: options.artifacts] }
    Map usernamePassword(Map o) {
        assert o.keySet() == ['credentialsId', 'usernameVariable', 'passwordVariable'] as Set
        [(o.usernameVariable): "credential:${o.credentialsId}".toString(), (o.passwordVariable): "credential:${o.credentialsId}".toString()]
    }
    Map gitUsernamePassword(Map o) { assert o.keySet() == ['credentialsId'] as Set; [GIT_ASKPASS: o.credentialsId] }
    void withCredentials(List bindings, Closure body) {
        def inner = new Steps(run: run, into: into, bound: bound + bindings.inject([:]) { a, b -> a + b })
        Run.inside(inner, body)
    }
}

class Post {
    Run run
    List into
    void always(Closure body) { Run.inside(new Steps(run: run, into: into), body) }
}

class Stage {
    Run run
    Map result
    boolean on = true
    void when(Closure body) { def c = new Conditions(run: run); Run.inside(c, body); assert c.found.size() == 1; on = c.found[0] }
    void environment(Closure body) { Run.inside(new Environment(run: run, into: result.environment), body) }
    void steps(Closure body) { result.hasSteps = true; Run.inside(new Steps(run: run, into: result.steps), body) }
    void post(Closure body) { Run.inside(new Post(run: run, into: result.post), body) }
}

class Stages {
    Run run
    void stage(String name, Closure body) {
        def result = [name: name, environment: [:], steps: [], post: []]
        def stage = new Stage(run: run, result: result)
        Run.inside(stage, body)
        assert result.remove('hasSteps'): "the stage $name has no steps"
        assert !run.stages.any { it.name == name }: "two stages are called $name"
        result.on = stage.on
        run.stages << result
    }
}

class Agent { void label(String name) { assert name } }
class Options { void disableConcurrentBuilds() {} }
class Triggers { Run run; void cron(String when) { run.crons << when } }
class Parameters {
    Run run
    void choice(Map o) {
        assert o.keySet() == ['name', 'choices', 'description'] as Set
        assert o.choices.unique(false) == o.choices
        run.declared << o.name
        if (run.scenario.startsWith('promote=')) {
            def wanted = run.scenario.split('=')[1]
            assert wanted in o.choices
            run.params[o.name] = wanted
        }
    }
}

class Top {
    Run run
    Set seen = []
    private void once(String what) { assert seen.add(what): "$what stands there twice" }
    void agent(Closure body) { once('agent'); Run.inside(new Agent(), body) }
    void options(Closure body) { once('options'); Run.inside(new Options(), body) }
    void triggers(Closure body) { once('triggers'); Run.inside(new Triggers(run: run), body) }
    void parameters(Closure body) { once('parameters'); Run.inside(new Parameters(run: run), body) }
    void environment(Closure body) { once('environment'); Run.inside(new Environment(run: run, into: run.environment), body) }
    void stages(Closure body) { once('stages'); Run.inside(new Stages(run: run), body) }
    void post(Closure body) { once('post'); Run.inside(new Post(run: run, into: run.post), body) }
}

def found = args.tail().collect { scenario ->
    def run = new Run(scenario: scenario)
    if (scenario == 'change') { run.env.BRANCH_NAME = 'PR-7' }
    def binding = new Binding(env: run.env, params: run.params)
    def pipelines = 0
    binding.pipeline = { Closure body ->
        pipelines++
        def top = new Top(run: run)
        Run.inside(top, body)
        assert 'agent' in top.seen && 'stages' in top.seen
    }
    new GroovyShell(this.class.classLoader, binding).evaluate(new File(args[0]))
    assert pipelines == 1
    [scenario: scenario, stages: run.stages, crons: run.crons, environment: run.environment, post: run.post]
}
println JsonOutput.toJson(found)
