# moto as a server, with what AWS does and moto 5.2 does not. Arguments: those of moto_server.
import threading

import moto.server
from moto.ec2.models.instances import Instance
from moto.ec2.models.security_groups import SecurityGroupRule
from moto.route53.models import Route53Backend
from moto.route53.responses import Route53
from moto.ssm.models import Command

read_flag = Route53._get_bool_param
prepare_interfaces = Instance.prep_nics
run_simple = moto.server.run_simple
change_records = Route53Backend.change_resource_record_sets
find_targets = Command._get_instance_ids_from_targets


def read_zone_flag(self, name, *rest, **options):
    """A zone that is made with a VPC is private, also where the request does not say so."""
    if name == "HostedZoneConfig.PrivateZone" and self._get_param("VPC.VPCId"):
        return True
    return read_flag(self, name, *rest, **options)


def change_records_by_name(self, zoneid, change_list):
    """A name with an asterisk is the one with its octal, as which Route 53 lists it: Terraform writes one, our instance the other."""
    for change in change_list:
        record = change["ResourceRecordSet"]
        record["Name"] = record["Name"].replace("*", "\\052")
    return change_records(self, zoneid, change_list)


def describe_rule(self):
    """A rule that refers to a group has its description as well."""
    return self.ip_range.get("Description") or (self.source_group or {}).get("Description")


def prepare_groups(self, *args, **options):
    """An instance is in the groups of its first network interface, where they are given there."""
    prepare_interfaces(self, *args, **options)
    if not self.security_groups and self.nics:
        self.security_groups = list(self.nics[0]._group_set)


def find_named_targets(self):
    """A command without targets goes to the instances that it names, not to all."""
    return find_targets(self) if self.targets else []


def serve_one_at_a_time(host, port, application, **options):
    """moto's threads meet in the same lists: a rule was there twice, or not yet gone."""
    turn = threading.Lock()
    serve = answer_once(application)

    def answer(environment, start_response):
        with turn:
            return serve(environment, start_response)

    run_simple(host, port, answer, **options)


def answer_once(application):
    """Gives the attempts of one call the same answer.

    This server closes each connection behind its answer, and one in some hundred answers is lost with it. The SDK then
    asks again, and what the first attempt revoked would not be there for the second.
    """
    answers = {}

    def serve(environment, start_response):
        call = environment.get("HTTP_AMZ_SDK_INVOCATION_ID")
        if call in answers:
            status, headers, body = answers[call]
            start_response(status, headers)
            return body
        begun = []

        def start(status, headers, *rest):
            begun[:] = [status, headers]
            return start_response(status, headers, *rest)

        body = list(application(environment, start))
        if call and begun[0].startswith("2"):
            answers[call] = (*begun, body)
        return body

    return serve


Route53._get_bool_param = read_zone_flag
Route53Backend.change_resource_record_sets = change_records_by_name
SecurityGroupRule.description = property(describe_rule)
Instance.prep_nics = prepare_groups
Command._get_instance_ids_from_targets = find_named_targets
moto.server.run_simple = serve_one_at_a_time
moto.server.main()
